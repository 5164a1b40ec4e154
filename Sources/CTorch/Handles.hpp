// What the parts of the shim share: errors on their way to C, and tensors as handles.
#ifndef NORMA_HANDLES_HPP
#define NORMA_HANDLES_HPP

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "CTorch.h"

namespace norma {

// Errors -----------------------------------------------------------------------------------------

// A Swift error on its way through libtorch's autograd engine.
struct ErrorObject {
  void *object;
  void (*release)(void *);
  ErrorObject(void *o, void (*r)(void *)) : object(o), release(r) {}
  ErrorObject(const ErrorObject &) = delete;
  ~ErrorObject() {
    if (object) {
      release(object);
    }
  }
};

struct CallbackError : std::exception {
  std::shared_ptr<ErrorObject> error;
  explicit CallbackError(std::shared_ptr<ErrorObject> e) : error(std::move(e)) {}
  const char *what() const noexcept override { return "an error was thrown by a custom function"; }
};

inline thread_local std::string last_error;
inline thread_local std::shared_ptr<ErrorObject> last_callback_error;

inline void store_current_exception() {
  last_callback_error.reset();
  try {
    throw;
  } catch (const CallbackError &e) {
    last_error = e.what();
    last_callback_error = e.error;
  } catch (const c10::Error &e) {
    last_error = e.what_without_backtrace();
  } catch (const std::exception &e) {
    last_error = e.what();
  } catch (...) {
    last_error = "libtorch threw something that is not a std::exception";
  }
}

template <typename Body> auto guarded(Body &&body) -> decltype(body()) {
  using Result = decltype(body());
  try {
    return body();
  } catch (...) {
    store_current_exception();
  }
  if constexpr (std::is_pointer_v<Result>) {
    return nullptr;
  } else {
    return static_cast<Result>(-1);
  }
}

// Tensors: a handle is the owned TensorImpl ------------------------------------------------------

inline at::Tensor borrow(CTTensor handle) {
  if (handle == nullptr) {
    return at::Tensor();
  }
  return at::Tensor::wrap_tensor_impl(
      c10::intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>::reclaim_copy(
          reinterpret_cast<at::TensorImpl *>(handle)));
}

inline CTTensor own(at::Tensor tensor) {
  if (!tensor.defined()) {
    return nullptr;
  }
  return reinterpret_cast<CTTensor>(tensor.unsafeReleaseTensorImpl());
}

} // namespace norma
#endif
