// Several processes, by libtorch's c10d: a store over TCP, and Gloo's and NCCL's collective operations.

#if __has_include(<libtorch_abi.h>)
#include <libtorch_abi.h>
#endif

#if __has_include(<torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>)

#define USE_C10D_GLOO 1
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <sched.h>
#include <thread>

#include "Handles.hpp"
#include "Threads.hpp"
#include "../CNCCL/include/NCCL.hpp"

using namespace norma;

namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

c10d::TCPStore &store(CTStore handle) { return *reinterpret_cast<c10d::TCPStore *>(handle); }
c10d::Backend &group(CTGroup handle) { return *reinterpret_cast<c10d::Backend *>(handle); }

template <typename T> c10::intrusive_ptr<T> retained(T &object) {
  return c10::intrusive_ptr<T>::reclaim_copy(&object);
}

CTWork own(c10::intrusive_ptr<c10d::Work> work) { return reinterpret_cast<CTWork>(work.release()); }

thread_local std::vector<uint8_t> last_bytes;

// Gloo's threads that read sockets try a connection's lock again and again while another thread writes with it. Where there are no more cores
// than threads, waking up they take the core of that other thread, which has the lock, for milliseconds. As a batch thread one
// waits for its turn.
void calm_readers() {
#ifdef __linux__
  for_each_thread([](pid_t thread) {
    std::ifstream name("/proc/self/task/" + std::to_string(thread) + "/comm");
    std::string text;
    if (std::getline(name, text) && text == "gloo_tcp_loop") {
      sched_param parameters{};
      sched_setscheduler(thread, SCHED_BATCH, &parameters);
    }
  });
#endif
}

} // namespace

CTStore ct_store(const char *host, int port, bool is_server, int listening_socket, double seconds) {
  // What goes wrong comes back as an error, and need not be logged with traces besides.
  static const bool is_quiet = [] {
    setenv("TORCH_CPP_LOG_LEVEL", "FATAL", 0);
    c10::initLogging();
    return true;
  }();
  (void)is_quiet;
  return guarded([&]() -> CTStore {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = is_server;
    if (listening_socket >= 0) {
      options.masterListenFd = listening_socket;
    }
    options.waitWorkers = false;
    options.timeout = milliseconds(seconds);
    return reinterpret_cast<CTStore>(c10::make_intrusive<c10d::TCPStore>(host, options).release());
  });
}

void ct_store_release(CTStore handle) {
  if (handle) {
    c10::intrusive_ptr<c10d::TCPStore>::reclaim(&store(handle));
  }
}

int ct_store_set(CTStore handle, const char *key, const uint8_t *bytes, int64_t count) {
  return guarded([&]() -> int {
    store(handle).set(key, std::vector<uint8_t>(bytes, bytes + count));
    return 0;
  });
}

int64_t ct_store_get(CTStore handle, const char *key, double seconds, const uint8_t **bytes) {
  return guarded([&]() -> int64_t {
    store(handle).wait({key}, milliseconds(seconds));
    last_bytes = store(handle).get(key);
    *bytes = last_bytes.data();
    return static_cast<int64_t>(last_bytes.size());
  });
}

int ct_store_claim(CTStore handle, const char *key, const uint8_t *bytes, int64_t count) {
  return guarded([&]() -> int {
    std::vector<uint8_t> value(bytes, bytes + count);
    return store(handle).compareSet(key, {}, value) == value ? 1 : 0;
  });
}

int ct_store_has(CTStore handle, const char *key) {
  return guarded([&]() -> int { return store(handle).check({key}) ? 1 : 0; });
}

CTGroup ct_group(CTStore handle, const char *name, int rank, int size, const char *address,
                 const char *interface, double seconds) {
  return guarded([&]() -> CTGroup {
    using c10d::ProcessGroupGloo;
    auto options = ProcessGroupGloo::Options::create(milliseconds(seconds));
    options->devices.push_back(interface ? ProcessGroupGloo::createDeviceForInterface(interface)
                                         : ProcessGroupGloo::createDeviceForHostname(address));
    auto shared = retained<c10d::Store>(store(handle));
    auto named = c10::make_intrusive<c10d::PrefixStore>(name, shared);
    auto made = c10::make_intrusive<ProcessGroupGloo>(named, rank, size, options);
    calm_readers();
    return reinterpret_cast<CTGroup>(static_cast<c10d::Backend *>(made.release()));
  });
}

CTGroup ct_group_nccl(CTStore handle, const char *name, int rank, int size, int device, const char **place,
                      double seconds) {
  return guarded([&]() -> CTGroup {
    auto library = dlopen(nccl_library, RTLD_NOW);
    const auto remedy = "install a CUDA build of torch by pip, remove .libtorch and run `make setup` again, which says what else is missing";
    TORCH_CHECK(library, "the library of NCCL could not be loaded (", dlerror(), "); ", remedy);
    auto make = reinterpret_cast<MakeNCCLGroup *>(dlsym(library, nccl_function));
    TORCH_CHECK(make, "Norma was built without NCCL, as there was no CUDA build of torch with NVIDIA's headers beside it; ", remedy);
    auto shared = retained<c10d::Store>(store(handle));
    auto named = c10::make_intrusive<c10d::PrefixStore>(name, shared);
    thread_local std::string last_place;
    auto made = make(named, rank, size, device, last_place, milliseconds(seconds));
    *place = last_place.c_str();
    return reinterpret_cast<CTGroup>(made);
  });
}

void ct_group_abort(CTGroup handle) {
  guarded([&]() -> int {
    group(handle).abort();
    return 0;
  });
}

void ct_group_release(CTGroup handle) {
  if (handle) {
    c10::intrusive_ptr<c10d::Backend>::reclaim(&group(handle));
  }
}

CTWork ct_group_all_reduce(CTGroup handle, CTTensor tensor) {
  return guarded([&]() -> CTWork {
    std::vector<at::Tensor> tensors{borrow(tensor)};
    return own(group(handle).allreduce(tensors));
  });
}

CTWork ct_group_broadcast(CTGroup handle, CTTensor tensor, int root) {
  return guarded([&]() -> CTWork {
    std::vector<at::Tensor> tensors{borrow(tensor)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return own(group(handle).broadcast(tensors, options));
  });
}

CTWork ct_group_all_gather(CTGroup handle, CTTensor output, CTTensor input) {
  return guarded([&]() -> CTWork {
    auto whole = borrow(output);
    auto part = borrow(input);
    return own(group(handle)._allgather_base(whole, part));
  });
}

CTWork ct_group_send(CTGroup handle, CTTensor tensor, int rank) {
  return guarded([&]() -> CTWork {
    std::vector<at::Tensor> tensors{borrow(tensor)};
    return own(group(handle).send(tensors, rank, 0));
  });
}

CTWork ct_group_receive(CTGroup handle, CTTensor tensor, int rank) {
  return guarded([&]() -> CTWork {
    std::vector<at::Tensor> tensors{borrow(tensor)};
    return own(group(handle).recv(tensors, rank, 0));
  });
}

int ct_work_wait(CTWork handle, double seconds) {
  auto &work = *reinterpret_cast<c10d::Work *>(handle);
  // Messages between two processes end by the wait alone, and a wait that is given up ends them.
  if (seconds <= 0) {
    return guarded([&]() -> int { return work.wait() ? 0 : 1; });
  }
  return guarded([&]() -> int {
    if (!work.isCompleted()) {
      try {
        work.wait(milliseconds(seconds));
      } catch (...) {
        if (!work.isCompleted()) {
          return 1;
        }
      }
    }
    work.wait();
    return 0;
  });
}

int ct_work_wait_on_device(CTWork handle, double seconds) {
  auto &work = *reinterpret_cast<c10d::Work *>(handle);
  return guarded([&]() -> int {
    using clock = std::chrono::steady_clock;
    const auto start = clock::now();
    // The device does not wake up who waits for it.
    while (!work.isCompleted()) {
      const auto passed = clock::now() - start;
      if (passed > std::chrono::duration<double>(seconds)) {
        return 1;
      }
      if (passed < std::chrono::milliseconds(1)) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
    if (auto error = work.exception()) {
      std::rethrow_exception(error);
    }
    work.synchronize();
    return 0;
  });
}

void ct_work_interrupt(CTWork handle) {
  guarded([&]() -> int {
    reinterpret_cast<c10d::Work *>(handle)->abort();
    return 0;
  });
}

void ct_work_release(CTWork handle) {
  c10::intrusive_ptr<c10d::Work>::reclaim(reinterpret_cast<c10d::Work *>(handle));
}

#endif
