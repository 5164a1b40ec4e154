// How the library of libtorch's NCCL backend is asked for a group. It stands by itself, as it needs CUDA's library, which is
// loaded only when a CUDA device is asked for.
#ifndef NORMA_NCCL_HPP
#define NORMA_NCCL_HPP

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace norma {

inline constexpr const char *nccl_library = "libNormaNCCL.so";
// Another name with every other signature, so that none is called for another.
inline constexpr const char *nccl_function = "norma_nccl_group_2";
// The caller owns what it returns, and gets what NCCL tells a machine's devices apart by. It throws what the backend throws, as where
// there is no GPU.
using MakeNCCLGroup = c10d::Backend *(const c10::intrusive_ptr<c10d::Store> &store, int rank, int size, int device,
                                      std::string &place, std::chrono::milliseconds timeout);

} // namespace norma
#endif
