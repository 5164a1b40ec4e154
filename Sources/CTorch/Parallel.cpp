// Loops on libtorch's threads. libtorch's own parallel_for is a template over OpenMP pragmas, which the
// compiler of this file does not know; the OpenMP library that libtorch has loaded is called directly.
#if __has_include(<libtorch_abi.h>)
#include <libtorch_abi.h>
#endif

#if __has_include(<ATen/Parallel.h>)
#include <ATen/Parallel.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <dlfcn.h>
#include <set>

#if defined(__APPLE__)
#include <dispatch/dispatch.h>
#endif

#ifdef __linux__
#include <sched.h>
#endif

#include "CTorch.h"
#include "Threads.hpp"

namespace {

struct Loop {
  int64_t tasks;
  int64_t pieces;
  void (*body)(void *, int64_t, int64_t);
  void *context;

  void run(int64_t piece) const {
    int64_t begin = tasks * piece / pieces, end = tasks * (piece + 1) / pieces;
    if (begin < end) {
      body(context, begin, end);
    }
  }
};

// GNU's entry points, which LLVM's OpenMP library has too.
struct OpenMP {
  using Function = void (*)(void *);
  void (*parallel)(Function, void *, unsigned, unsigned) = nullptr;
  int (*thread)() = nullptr;
  int (*threads)() = nullptr;

  OpenMP() {
    // libtorch's own, should another one be in the process too.
    void *library = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
    auto find = [&](const char *name) { return dlsym(library ? library : RTLD_DEFAULT, name); };
    parallel = reinterpret_cast<decltype(parallel)>(find("GOMP_parallel"));
    thread = reinterpret_cast<decltype(thread)>(find("omp_get_thread_num"));
    threads = reinterpret_cast<decltype(threads)>(find("omp_get_num_threads"));
  }
  bool found() const { return parallel && thread && threads; }
};

const OpenMP &openmp() {
  static const OpenMP library;
  return library;
}

} // namespace

extern "C" void ct_parallel(int64_t tasks, void (*body)(void *, int64_t, int64_t), void *context) {
  int64_t threads = std::min<int64_t>(at::get_num_threads(), tasks);
  Loop loop{tasks, std::max<int64_t>(threads, 1), body, context};
  if (threads <= 1 || at::in_parallel_region()) {
    if (tasks > 0) {
      body(context, 0, tasks);
    }
    return;
  }
  if (openmp().found()) {
    openmp().parallel(
        [](void *argument) {
          auto &loop = *static_cast<Loop *>(argument);
          // The library may give fewer threads than asked for.
          int64_t given = openmp().threads();
          for (int64_t piece = openmp().thread(); piece < loop.pieces; piece += given) {
            loop.run(piece);
          }
        },
        &loop, static_cast<unsigned>(threads), 0);
    return;
  }
#if defined(__APPLE__)
  dispatch_apply_f(static_cast<size_t>(threads), DISPATCH_APPLY_AUTO, &loop, [](void *argument, size_t piece) {
    static_cast<Loop *>(argument)->run(static_cast<int64_t>(piece));
  });
#else
  body(context, 0, tasks);
#endif
}

#ifdef __linux__
namespace {

// A set of processors, as large as the system's.
class ProcessorSet {
public:
  explicit ProcessorSet(int count) : count(count), set(CPU_ALLOC(count)) { CPU_ZERO_S(bytes(), set); }
  ~ProcessorSet() { CPU_FREE(set); }
  ProcessorSet(const ProcessorSet &) = delete;
  ProcessorSet &operator=(const ProcessorSet &) = delete;

  size_t bytes() const { return CPU_ALLOC_SIZE(count); }

  const int count;
  cpu_set_t *const set;
};

} // namespace
#endif

extern "C" int ct_processors(int *processors, int capacity) {
#ifdef __linux__
  // The system refuses a set that is smaller than its own.
  for (int size = 1024; size <= 1 << 20; size *= 2) {
    ProcessorSet found(size);
    if (sched_getaffinity(0, found.bytes(), found.set) != 0) {
      continue;
    }
    int count = 0;
    for (int processor = 0; processor < size; processor++) {
      if (CPU_ISSET_S(processor, found.bytes(), found.set)) {
        if (count < capacity) {
          processors[count] = processor;
        }
        count++;
      }
    }
    return count;
  }
#endif
  return 0;
}

extern "C" int ct_keep_to_processors(const int *processors, int count) {
#ifdef __linux__
  if (count <= 0) {
    return -1;
  }
  ProcessorSet wanted(1 + *std::max_element(processors, processors + count));
  for (int index = 0; index < count; index++) {
    CPU_SET_S(processors[index], wanted.bytes(), wanted.set);
  }
  // What the system refuses to this thread it refuses to all.
  if (sched_setaffinity(0, wanted.bytes(), wanted.set) != 0) {
    return -1;
  }
  std::set<pid_t> kept;
  bool is_kept = true;
  // A thread that is not kept yet can make another.
  for (bool is_new = true; is_new;) {
    is_new = false;
    is_kept &= norma::for_each_thread([&](pid_t thread) {
      if (kept.insert(thread).second) {
        is_new = true;
        // It may have ended.
        is_kept &= sched_setaffinity(thread, wanted.bytes(), wanted.set) == 0 || errno == ESRCH;
      }
    });
  }
  return is_kept ? 0 : -1;
#else
  return -1;
#endif
}

#endif // libtorch was found
