// Written by `make setup` where this libtorch uses an older C++ library interface.
#if __has_include(<libtorch_abi.h>)
#include <libtorch_abi.h>
#endif

#if !__has_include(<ATen/core/ivalue.h>)
#error "libtorch was not found. Run `make setup` (it finds or fetches libtorch), or set LIBTORCH to the folder that holds its include/ and lib/ and run `make setup` again."
#else

#include <ATen/core/ivalue.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/GradMode.h>
#include <caffe2/core/common.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/version.h>

#include <algorithm>
#include <cstring>
#include <dlfcn.h>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "CTorch.h"
#include "Handles.hpp"

using namespace norma;

namespace {

using norma::borrow;

const at::TensorImpl *impl(CTTensor handle) {
  return reinterpret_cast<const at::TensorImpl *>(handle);
}

c10::Device unpack_device(int64_t bits) {
  return c10::Device(static_cast<c10::DeviceType>(bits >> 8), static_cast<int8_t>(bits & 0xff));
}

int pack_device(c10::Device device) {
  return (static_cast<int>(device.type()) << 8) | (static_cast<int>(device.index()) & 0xff);
}

at::Generator borrow(CTGenerator handle) {
  return at::Generator(c10::intrusive_ptr<c10::GeneratorImpl>::reclaim_copy(
      reinterpret_cast<c10::GeneratorImpl *>(handle)));
}

// Operators --------------------------------------------------------------------------------------

struct Parameter {
  bool is_float = false;      // integers are widened
  bool is_float_list = false;
  bool is_number_list = false; // of numbers of either kind, each possibly none
  bool has_default = false;
  c10::IValue default_value;
  std::string name;
};

struct Operator {
  c10::OperatorHandle handle;
  std::vector<Parameter> parameters;
  std::string name;
};

double as_double(uint64_t bits) {
  double value;
  static_assert(sizeof(value) == sizeof(bits));
  memcpy(&value, &bits, sizeof(value));
  return value;
}

c10::IValue to_ivalue(const CTValue &value, const Parameter &parameter) {
  switch (value.tag) {
  case CTTagDefault:
    TORCH_CHECK(parameter.has_default, "argument '", parameter.name, "' has no default value");
    return parameter.default_value;
  case CTTagNone:
    return c10::IValue();
  case CTTagTensor:
    return c10::IValue(borrow(reinterpret_cast<CTTensor>(value.bits)));
  case CTTagInt: {
    auto number = static_cast<int64_t>(value.bits);
    return parameter.is_float ? c10::IValue(static_cast<double>(number)) : c10::IValue(number);
  }
  case CTTagDouble:
    return c10::IValue(as_double(value.bits));
  case CTTagBool:
    return c10::IValue(value.bits != 0);
  case CTTagString:
    return c10::IValue(
        std::string(reinterpret_cast<const char *>(value.bits), static_cast<size_t>(value.count)));
  case CTTagIntList: {
    auto numbers = reinterpret_cast<const int64_t *>(value.bits);
    if (parameter.is_float_list) {
      c10::List<double> list;
      for (int i = 0; i < value.count; i++) {
        list.push_back(static_cast<double>(numbers[i]));
      }
      return c10::IValue(std::move(list));
    }
    return c10::IValue(c10::IntArrayRef(numbers, static_cast<size_t>(value.count)));
  }
  case CTTagDoubleList:
    if (parameter.is_number_list) {
      c10::List<std::optional<at::Scalar>> list;
      for (int i = 0; i < value.count; i++) {
        list.push_back(at::Scalar(reinterpret_cast<const double *>(value.bits)[i]));
      }
      return c10::IValue(std::move(list));
    }
    return c10::IValue(c10::ArrayRef<double>(reinterpret_cast<const double *>(value.bits),
                                             static_cast<size_t>(value.count)));
  case CTTagBoolList: {
    c10::List<bool> list;
    for (int i = 0; i < value.count; i++) {
      list.push_back(reinterpret_cast<const int64_t *>(value.bits)[i] != 0);
    }
    return c10::IValue(std::move(list));
  }
  case CTTagTensorList: {
    c10::List<at::Tensor> list;
    for (int i = 0; i < value.count; i++) {
      list.push_back(borrow(reinterpret_cast<const CTTensor *>(value.bits)[i]));
    }
    return c10::IValue(std::move(list));
  }
  case CTTagOptionalTensorList: {
    c10::List<std::optional<at::Tensor>> list;
    for (int i = 0; i < value.count; i++) {
      auto handle = reinterpret_cast<const CTTensor *>(value.bits)[i];
      list.push_back(handle ? std::optional<at::Tensor>(borrow(handle)) : std::nullopt);
    }
    return c10::IValue(std::move(list));
  }
  case CTTagDevice:
    return c10::IValue(unpack_device(static_cast<int64_t>(value.bits)));
  case CTTagGenerator:
    return c10::IValue(borrow(reinterpret_cast<CTGenerator>(value.bits)));
  default:
    TORCH_CHECK(false, "argument '", parameter.name, "' has unknown tag ", value.tag);
  }
}

void append_results(c10::IValue &&value, std::vector<CTValue> &results) {
  auto add = [&](int32_t tag, uint64_t bits) { results.push_back(CTValue{tag, 0, bits}); };
  auto add_tensor = [&](at::Tensor tensor) {
    auto handle = own(std::move(tensor));
    add(handle ? CTTagTensor : CTTagNone, reinterpret_cast<uint64_t>(handle));
  };
  if (value.isTensor()) {
    add_tensor(std::move(value).toTensor());
  } else if (value.isTensorList()) {
    for (auto &&tensor : value.toTensorVector()) {
      add_tensor(tensor);
    }
  } else if (value.isInt()) {
    add(CTTagInt, static_cast<uint64_t>(value.toInt()));
  } else if (value.isDouble()) {
    double number = value.toDouble();
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    add(CTTagDouble, bits);
  } else if (value.isBool()) {
    add(CTTagBool, value.toBool() ? 1 : 0);
  } else if (value.isNone()) {
    add(CTTagNone, 0);
  } else {
    TORCH_CHECK(false, "an operator returned a ", value.tagKind(), ", which Norma does not read");
  }
}

// Kept between calls to save allocations; moved out while a call runs, since a call may nest.
thread_local std::vector<c10::IValue> spare_stack;
thread_local std::vector<CTValue> last_results;

// Custom functions -------------------------------------------------------------------------------

using torch::autograd::Edge;
using torch::autograd::Node;
using NodePointer = decltype(Edge::function);

struct CallbackNode : Node {
  std::string label;
  std::vector<torch::autograd::SavedVariable> saved;
  size_t inputs = 0;
  CTBackward backward = nullptr;
  void *context = nullptr;
  void (*release)(void *) = nullptr;

  ~CallbackNode() override {
    if (context) {
      release(context);
    }
  }

  std::string name() const override { return label; }

  void release_variables() override { saved.clear(), released = true; }

  torch::autograd::variable_list apply(torch::autograd::variable_list &&gradients) override {
    TORCH_CHECK(!released, "backward through ", label,
                " a second time: keep the graph (keepGraph: true) in the first backward pass");
    std::vector<at::Tensor> unpacked;
    std::vector<CTTensor> gradient_handles, saved_handles;
    for (auto &gradient : gradients) {
      gradient_handles.push_back(
          gradient.defined() ? reinterpret_cast<CTTensor>(gradient.unsafeGetTensorImpl()) : nullptr);
    }
    for (auto &variable : saved) {
      unpacked.push_back(variable.unpack(getptr()));
      saved_handles.push_back(reinterpret_cast<CTTensor>(unpacked.back().unsafeGetTensorImpl()));
    }
    auto needed = std::make_unique<bool[]>(inputs);
    for (size_t i = 0; i < inputs; i++) {
      needed[i] = task_should_compute_output(i);
    }
    std::vector<CTTensor> results(inputs, nullptr);
    void *error = backward(context, gradient_handles.data(), static_cast<int>(gradient_handles.size()),
                           saved_handles.data(), static_cast<int>(saved_handles.size()),
                           needed.get(), results.data(), static_cast<int>(inputs));
    torch::autograd::variable_list output;
    for (auto handle : results) {
      output.push_back(borrow(handle));
      ct_tensor_release(handle);
    }
    if (error) {
      throw CallbackError(std::make_shared<ErrorObject>(error, release));
    }
    return output;
  }

private:
  bool released = false;
};

// Nodes are held by shared_ptr in older versions of libtorch and by intrusive_ptr in newer ones.
template <typename Pointer> Pointer adopt(CallbackNode *node) {
  if constexpr (std::is_same_v<Pointer, std::shared_ptr<Node>>) {
    // Found by argument lookup when instantiated: versions with intrusive_ptr have no deleteNode.
    return Pointer(node, [](typename Pointer::element_type *n) { deleteNode(n); });
  } else {
    return Pointer::unsafe_steal_from_new(node);
  }
}

template <typename List> List borrow_all(const CTTensor *handles, int count) {
  List list;
  for (int i = 0; i < count; i++) {
    list.push_back(borrow(handles[i]));
  }
  return list;
}

} // namespace

extern "C" {

const char *ct_error_message(void) { return last_error.c_str(); }

void *ct_take_callback_error(void) {
  auto error = std::move(last_callback_error);
  last_callback_error.reset();
  return error ? std::exchange(error->object, nullptr) : nullptr;
}

const char *ct_compiled_version(void) { return TORCH_VERSION; }

const char *ct_loaded_version(void) {
  // at::show_config() tells it too, but after it a CUDA library that is loaded later is not found any more.
  static const std::string text = [] {
    const auto &options = caffe2::GetBuildOptions();
    const auto found = options.find("TORCH_VERSION");
    return found == options.end() ? std::string() : found->second;
  }();
  return text.c_str();
}

int ct_load_library(const char *name) {
  if (dlopen(name, RTLD_NOW | RTLD_GLOBAL)) {
    return 0;
  }
  last_error = dlerror();
  return -1;
}

int ct_cuda_devices(void) {
  return guarded([]() -> int {
    const auto &hooks = at::detail::getCUDAHooks();
    TORCH_CHECK(typeid(hooks) != typeid(at::CUDAHooksInterface),
                "libtorch was used before its CUDA library was loaded; ask for the device at the beginning of the program");
    return hooks.getNumGPUs();
  });
}

CTOperator ct_operator(const char *name, const char *overload) {
  return guarded([&]() -> CTOperator {
    auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
    auto op = std::make_unique<Operator>(Operator{handle, {}, name});
    for (const auto &argument : handle.schema().arguments()) {
      Parameter parameter;
      parameter.name = argument.name();
      auto type = argument.type();
      if (auto optional = type->cast<c10::OptionalType>()) {
        type = optional->getElementType();
      }
      parameter.is_float = type->kind() == c10::TypeKind::FloatType;
      if (auto list = type->cast<c10::ListType>()) {
        auto element = list->getElementType();
        parameter.is_float_list = element->kind() == c10::TypeKind::FloatType;
        if (auto optional = element->cast<c10::OptionalType>()) {
          parameter.is_number_list = optional->getElementType()->kind() == c10::TypeKind::NumberType;
        }
      }
      if (argument.default_value()) {
        parameter.has_default = true;
        parameter.default_value = *argument.default_value();
      }
      op->parameters.push_back(std::move(parameter));
    }
    return reinterpret_cast<CTOperator>(op.release());
  });
}

int ct_call(CTOperator op_handle, const CTValue *arguments, int count, const CTValue **results) {
  return guarded([&]() -> int {
    auto &op = *reinterpret_cast<Operator *>(op_handle);
    auto expected = op.parameters.size();
    TORCH_CHECK(static_cast<size_t>(count) <= expected, op.name, " takes at most ", expected,
                " arguments, got ", count);
    auto stack = std::move(spare_stack);
    stack.clear();
    for (size_t i = 0; i < expected; i++) {
      if (i < static_cast<size_t>(count)) {
        stack.push_back(to_ivalue(arguments[i], op.parameters[i]));
      } else {
        TORCH_CHECK(op.parameters[i].has_default, op.name, " misses its argument '",
                    op.parameters[i].name, "'");
        stack.push_back(op.parameters[i].default_value);
      }
    }
    op.handle.callBoxed(stack);
    last_results.clear();
    try {
      for (auto &value : stack) {
        append_results(std::move(value), last_results);
      }
    } catch (...) {
      for (const auto &result : last_results) {
        if (result.tag == CTTagTensor) {
          ct_tensor_release(reinterpret_cast<CTTensor>(result.bits));
        }
      }
      throw;
    }
    stack.clear();
    spare_stack = std::move(stack);
    *results = last_results.data();
    return static_cast<int>(last_results.size());
  });
}

CTTensor ct_tensor_retain(CTTensor handle) { return own(borrow(handle)); }

void ct_tensor_release(CTTensor handle) {
  if (handle) {
    c10::raw::intrusive_ptr::decref(reinterpret_cast<at::TensorImpl *>(handle));
  }
}

int64_t ct_tensor_rank(CTTensor handle) { return impl(handle)->dim(); }

void ct_tensor_sizes(CTTensor handle, int64_t *sizes) {
  auto list = impl(handle)->sizes();
  std::copy(list.begin(), list.end(), sizes);
}

void ct_tensor_strides(CTTensor handle, int64_t *strides) {
  auto list = impl(handle)->strides();
  std::copy(list.begin(), list.end(), strides);
}

int64_t ct_tensor_count(CTTensor handle) { return impl(handle)->numel(); }

int ct_tensor_dtype(CTTensor handle) {
  return static_cast<int>(c10::typeMetaToScalarType(impl(handle)->dtype()));
}

int ct_tensor_device(CTTensor handle) { return pack_device(impl(handle)->device()); }

bool ct_tensor_is_contiguous(CTTensor handle, int memory_format) {
  return impl(handle)->is_contiguous(static_cast<at::MemoryFormat>(memory_format));
}

int64_t ct_tensor_version(CTTensor handle) {
  return static_cast<int64_t>(impl(handle)->version_counter().current_version());
}

void *ct_tensor_data(CTTensor handle) {
  return guarded([&]() -> void * { return borrow(handle).data_ptr(); });
}

bool ct_grad_mode(void) { return c10::GradMode::is_enabled(); }
void ct_set_grad_mode(bool enabled) { c10::GradMode::set_enabled(enabled); }

bool ct_tensor_requires_grad(CTTensor handle) {
  return borrow(handle).requires_grad();
}

int ct_tensor_set_requires_grad(CTTensor handle, bool value) {
  return guarded([&]() -> int {
    borrow(handle).requires_grad_(value);
    return 0;
  });
}

CTTensor ct_tensor_grad(CTTensor handle) {
  return guarded([&]() -> CTTensor {
    at::Tensor gradient = borrow(handle).grad();
    return own(std::move(gradient));
  });
}

namespace {
struct CallbackHook : torch::autograd::PostAccumulateGradHook {
  void *(*body)(void *);
  void *context;
  void (*release)(void *);
  CallbackHook(void *(*b)(void *), void *c, void (*r)(void *)) : body(b), context(c), release(r) {}
  CallbackHook(const CallbackHook &) = delete;
  ~CallbackHook() override { release(context); }
  void operator()(const at::Tensor &) override {
    if (void *error = body(context)) {
      throw CallbackError(std::make_shared<ErrorObject>(error, release));
    }
  }
};
} // namespace

int ct_tensor_set_gradient_hook(CTTensor tensor, void *(*body)(void *), void *context,
                                void (*release)(void *)) {
  return guarded([&]() -> int {
    auto hook = body ? std::make_unique<CallbackHook>(body, context, release) : nullptr;
    torch::autograd::impl::set_post_acc_grad_hooks(borrow(tensor), std::move(hook));
    return 0;
  });
}

int ct_tensor_set_grad(CTTensor handle, CTTensor gradient) {
  return guarded([&]() -> int {
    auto tensor = borrow(handle);
    auto value = borrow(gradient);
    // The fused optimizer steps read gradients by the parameter's size and type.
    TORCH_CHECK(!value.defined() || (value.sizes() == tensor.sizes() && value.dtype() == tensor.dtype() &&
                                     value.device() == tensor.device()),
                "a gradient of shape ", tensor.sizes(), ", type ", tensor.dtype(), " on ", tensor.device(),
                " was expected, got ", value.sizes(), ", ", value.dtype(), " on ", value.device());
    tensor.mutable_grad() = value;
    return 0;
  });
}

int ct_backward(const CTTensor *roots, const CTTensor *gradients, int count, bool keep_graph,
                bool create_graph) {
  return guarded([&]() -> int {
    using List = torch::autograd::variable_list;
    torch::autograd::backward(borrow_all<List>(roots, count), borrow_all<List>(gradients, count),
                              keep_graph, create_graph);
    return 0;
  });
}

int ct_grad(const CTTensor *roots, const CTTensor *gradients, int count, const CTTensor *inputs,
            int input_count, bool keep_graph, bool create_graph, CTTensor *results) {
  return guarded([&]() -> int {
    using List = torch::autograd::variable_list;
    auto output = torch::autograd::grad(
        borrow_all<List>(roots, count), borrow_all<List>(inputs, input_count),
        borrow_all<List>(gradients, count), keep_graph, create_graph, /*allow_unused=*/true);
    for (size_t i = 0; i < output.size(); i++) {
      results[i] = own(std::move(output[i]));
    }
    return 0;
  });
}

int ct_record_function(const char *name, const CTTensor *inputs, int input_count,
                       const CTTensor *outputs, int output_count, const CTTensor *saved,
                       int saved_count, CTBackward backward, void *context,
                       void (*release)(void *)) {
  std::unique_ptr<void, void (*)(void *)> guard(context, release);
  return guarded([&]() -> int {
    bool any = false;
    for (int i = 0; i < input_count; i++) {
      any = any || borrow(inputs[i]).requires_grad();
    }
    if (!any || !c10::GradMode::is_enabled()) {
      return 0;
    }
    auto raw = new CallbackNode();
    auto node = adopt<NodePointer>(raw);
    raw->label = name;
    raw->inputs = static_cast<size_t>(input_count);
    raw->backward = backward;
    raw->release = release;
    raw->context = guard.release();
    torch::autograd::edge_list edges;
    for (int i = 0; i < input_count; i++) {
      auto tensor = borrow(inputs[i]);
      edges.push_back(tensor.requires_grad() ? torch::autograd::impl::gradient_edge(tensor) : Edge());
    }
    raw->set_next_edges(std::move(edges));
    for (int i = 0; i < output_count; i++) {
      auto tensor = borrow(outputs[i]);
      TORCH_CHECK(!tensor.is_view(), name, ": output ", i, " is a view; return a fresh tensor");
      auto number = raw->add_input_metadata(tensor);
      torch::autograd::impl::set_gradient_edge(tensor, Edge(node, number));
    }
    for (int i = 0; i < saved_count; i++) {
      // A saved output must not hold this node, which holds it.
      bool is_output = std::find(outputs, outputs + output_count, saved[i]) != outputs + output_count;
      raw->saved.emplace_back(borrow(saved[i]), is_output);
    }
    return 1;
  });
}

CTGenerator ct_generator(int device, uint64_t seed) {
  return guarded([&]() -> CTGenerator {
    auto generator = at::globalContext().defaultGenerator(unpack_device(device)).clone();
    generator.set_current_seed(seed);
    return reinterpret_cast<CTGenerator>(generator.unsafeReleaseGeneratorImpl());
  });
}

void ct_generator_release(CTGenerator handle) {
  c10::raw::intrusive_ptr::decref(reinterpret_cast<c10::GeneratorImpl *>(handle));
}

CTTensor ct_generator_state(CTGenerator handle) {
  return guarded([&]() -> CTTensor { return own(borrow(handle).get_state()); });
}

int ct_generator_set_state(CTGenerator handle, CTTensor state) {
  return guarded([&]() -> int {
    borrow(handle).set_state(borrow(state));
    return 0;
  });
}

int ct_threads(void) { return at::get_num_threads(); }
void ct_set_threads(int count) { at::set_num_threads(count); }

} // extern "C"

#endif // libtorch was found
