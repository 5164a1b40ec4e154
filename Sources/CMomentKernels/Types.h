// Compiles the body for every data type, and the table of one instruction set from them.
// Before: MK_SET, MK_SET_NAME, MK_BYTES (of one vector register).
#include "CMomentKernels.h"

#include <stddef.h>
#include <string.h>

#define MK_JOIN4(a, b, c, d) a##b##c##d
#define MK_EXPAND4(a, b, c, d) MK_JOIN4(a, b, c, d)

#define DATA float
#define REAL float
#define LANES (MK_BYTES / 4)
#define NAME(x) MK_EXPAND4(f32_, x, _, MK_SET)
#include "Body.h"
#undef DATA
#undef REAL
#undef LANES
#undef NAME

#define DATA uint16_t
#define MK_BFLOAT16
#define REAL float
#define LANES (MK_BYTES / 4)
#define NAME(x) MK_EXPAND4(bf16_, x, _, MK_SET)
#include "Body.h"
#undef DATA
#undef MK_BFLOAT16
#undef REAL
#undef LANES
#undef NAME

#define DATA double
#define REAL double
#define LANES (MK_BYTES / 8)
#define NAME(x) MK_EXPAND4(f64_, x, _, MK_SET)
#include "Body.h"
#undef DATA
#undef REAL
#undef LANES
#undef NAME

#define MK_TABLE(type)                                                                                              \
  {                                                                                                                 \
    MK_EXPAND4(type, _run_moments, _, MK_SET), MK_EXPAND4(type, _run_scale, _, MK_SET),                             \
        MK_EXPAND4(type, _run_reduce, _, MK_SET), MK_EXPAND4(type, _run_apply, _, MK_SET),                          \
        MK_EXPAND4(type, _rows_moments, _, MK_SET), MK_EXPAND4(type, _rows_scale, _, MK_SET),                       \
        MK_EXPAND4(type, _rows_reduce, _, MK_SET), MK_EXPAND4(type, _rows_apply, _, MK_SET)                         \
  }

const MKInstructionSet MK_EXPAND4(mk_, MK_SET, , ) = {
    MK_SET_NAME,
    {[MKFloat32] = MK_TABLE(f32), [MKBFloat16] = MK_TABLE(bf16), [MKFloat64] = MK_TABLE(f64)},
};
