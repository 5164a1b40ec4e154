// AVX2 and FMA: processors from about 2013 on.
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#define MK_SET x86_64_v3
#define MK_SET_NAME "x86-64-v3"
#define MK_BYTES 32
#include "Types.h"
#pragma clang attribute pop
#endif
