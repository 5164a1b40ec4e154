// AVX-512.
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4"))), apply_to = function)
#define MK_SET x86_64_v4
#define MK_SET_NAME "x86-64-v4"
#define MK_BYTES 64
#include "Types.h"
#pragma clang attribute pop
#endif
