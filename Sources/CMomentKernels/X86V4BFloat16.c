// AVX-512 with the instructions that round to bfloat16.
#if defined(__x86_64__)
// Without the second attribute the compiler would split vectors into halves, as for processors that slow down.
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,avx512bf16"), min_vector_width(512))), apply_to = function)
#define MK_SET x86_64_v4_bf16
#define MK_SET_NAME "x86-64-v4+bf16"
#define MK_BYTES 64
#define MK_CONVERTS_BFLOAT16
#include "Types.h"
#pragma clang attribute pop
#endif
