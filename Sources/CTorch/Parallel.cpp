// Loops on libtorch's threads. libtorch's own parallel_for is a template over OpenMP pragmas, which the
// compiler of this file does not know; the OpenMP library that libtorch has loaded is called directly.
#if __has_include(<libtorch_abi.h>)
#include <libtorch_abi.h>
#endif

#if __has_include(<ATen/Parallel.h>)
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <dlfcn.h>

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

extern "C" int ct_processors(int *processors, int capacity) {
  int count = 0;
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
      if (CPU_ISSET(processor, &set)) {
        if (count < capacity) {
          processors[count] = processor;
        }
        count++;
      }
    }
  }
#endif
  return count;
}

extern "C" void ct_keep_to_processors(const int *processors, int count) {
#ifdef __linux__
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int index = 0; index < count; index++) {
    CPU_SET(processors[index], &set);
  }
  norma::for_each_thread([&](pid_t thread) { sched_setaffinity(thread, sizeof(set), &set); });
#endif
}

#endif // libtorch was found
