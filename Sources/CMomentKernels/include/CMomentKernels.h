// The inner loops of normalization by pooled moments. Each loop is one body (Body.h) compiled for
// several data types and instruction sets; mk_kernels gives the table for the chosen set.
//
// Data come as *runs* (n values of one (sample, channel) plane, next to each other) or as *rows*
// (channels next to each other, one row per position). Coefficients and results are doubles, one
// per channel of a row. Arithmetic on the data is done in float, or in double for double data; sums
// leave float after a few hundred additions, so that they stay exact for large planes.
//
// y = act(z) with z = scale · (x − center) + shift; `center` must be representable in the type of
// the arithmetic. Passing z by the center keeps the digits that a large mean would cost.
#ifndef CMOMENTKERNELS_H
#define CMOMENTKERNELS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { MKFloat32, MKBFloat16, MKFloat64, MKTypeCount } MKType;

typedef enum {
  MKNoActivation,
  MKReLU,
  MKLeakyReLU // slope · z below zero
} MKActivationKind;

typedef struct {
  MKActivationKind kind;
  double slope;
} MKActivation;

// Coefficients of the forward pass, one per channel.
typedef struct {
  const double *scale, *center, *shift;
} MKAffine;

// What the backward pass adds: dx = scale · g + factor · (x − center) + offset.
typedef struct {
  const double *factor, *offset;
} MKSlope;

// Channels that fill whole vectors on every instruction set.
enum { MKRowUnit = 32 };

// `stream` asks for stores that leave the cache alone, for data larger than it.
// g is the gradient of y; inside it is first taken through the activation, by the sign of z.
typedef struct {
  // Mean and sum of squared deviations of n > 0 values.
  void (*run_moments)(const void *x, int64_t n, double *mean, double *squares);
  void (*run_scale)(const void *x, void *y, int64_t n, MKAffine affine, MKActivation activation, bool stream);
  // Σ g (x − center) and Σ g.
  void (*run_reduce)(const void *g, const void *x, int64_t n, MKAffine affine, MKActivation activation,
                     double *products, double *sums);
  void (*run_apply)(const void *g, const void *x, void *dx, int64_t n, MKAffine affine, MKSlope slope,
                    MKActivation activation, bool stream);

  // The same over `rows` > 0 rows of `channels` values; results are arrays of `channels`. Rows of g may lie
  // `g_channels` values apart, as in a part of a concatenation, if `channels` is a multiple of MKRowUnit.
  void (*rows_moments)(const void *x, int64_t rows, int64_t channels, double *mean, double *squares);
  void (*rows_scale)(const void *x, void *y, int64_t rows, int64_t channels, MKAffine affine,
                     MKActivation activation, bool stream);
  void (*rows_reduce)(const void *g, const void *x, int64_t rows, int64_t channels, int64_t g_channels,
                      MKAffine affine, MKActivation activation, double *products, double *sums);
  void (*rows_apply)(const void *g, const void *x, void *dx, int64_t rows, int64_t channels, int64_t g_channels,
                     MKAffine affine, MKSlope slope, MKActivation activation, bool stream);
} MKKernels;

typedef struct {
  const char *name;
  MKKernels kernels[MKTypeCount];
} MKInstructionSet;

// The instruction sets compiled in that this processor can run, the fastest first; at least one.
int mk_available(const MKInstructionSet **sets, int capacity);
// The one of this name, or null when it is unknown here or this processor lacks it.
const MKInstructionSet *mk_named(const char *name);

// Adds moments of `count` values per channel to those of `before` values (Chan et al. 1979).
void mk_merge(double *mean, double *squares, int64_t before, const double *more_mean, const double *more_squares,
              int64_t count, int64_t channels);

#ifdef __cplusplus
}
#endif
#endif
