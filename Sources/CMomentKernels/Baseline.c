// What every processor of the architecture runs: SSE2 on x86-64, NEON on arm64.
#define MK_SET baseline
#if defined(__x86_64__)
#define MK_SET_NAME "x86-64"
#elif defined(__aarch64__)
#define MK_SET_NAME "arm64"
#else
#define MK_SET_NAME "baseline"
#endif
#define MK_BYTES 16
#include "Types.h"
