// Libtorch's NCCL backend. It is compiled where libtorch is a CUDA build with NVIDIA's headers beside it, as pip installs them, and
// is an empty library elsewhere.

#if __has_include(<libtorch_abi.h>)
#include <libtorch_abi.h>
#endif

#if __has_include(<nccl.h>) && __has_include(<crt/host_config.h>) && __has_include(<nv/target>) && \
    __has_include(<cusolverDn.h>) && __has_include(<c10/cuda/impl/cuda_cmake_macros.h>)

#define USE_C10D_NCCL 1
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/cuda/CUDAException.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <cstdlib>

#include "include/NCCL.hpp"

extern "C" norma::MakeNCCLGroup norma_nccl_group_2;

c10d::Backend *norma_nccl_group_2(const c10::intrusive_ptr<c10d::Store> &store, int rank, int size, int device,
                                  std::string &place, std::chrono::milliseconds timeout) {
  // Headers of several versions can lie beside libtorch.
  const long built = CUDART_VERSION / 1000, loaded = at::detail::getCUDAHooks().versionCUDART() / 1000;
  TORCH_CHECK(built == loaded, "Norma's library of NCCL was compiled with the headers of CUDA ", built, ", libtorch with those of CUDA ",
              loaded, "; uninstall NVIDIA's packages of the other version and remove .build");
  // Whoever waits keeps the time and names the rank that fails, whatever torchrun sets: the backend's own threads would end the process in the
  // middle of something, or have it wait for minutes at its end.
  setenv("TORCH_NCCL_BLOCKING_WAIT", "1", 1);
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", 1);
  setenv("TORCH_NCCL_ENABLE_MONITORING", "0", 1);
  setenv("TORCH_NCCL_DUMP_ON_TIMEOUT", "0", 1);
  // All ways of sending connect at the first operation, and none in the middle of a training.
  setenv("NCCL_RUNTIME_CONNECT", "0", 0);
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  auto made = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
  char bus[32];
  C10_CUDA_CHECK(cudaDeviceGetPCIBusId(bus, sizeof(bus), device));
  place = bus;
  return made.release();
}

#endif
