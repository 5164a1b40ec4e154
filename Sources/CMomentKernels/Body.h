// The loops, for one data type and one instruction set. Before: DATA (in memory), REAL (arithmetic),
// LANES (REALs per vector), NAME(x).
//
// Every expression that decides the sign of z is the same one, so forward and backward agree on it.

typedef REAL NAME(V) __attribute__((ext_vector_type(LANES)));
#define V NAME(V)

// Values per lane that are summed in REAL before the sum goes on in double.
#define FLUSH 256
// Vectors side by side in one row, and independent sums in one run.
#define WIDE 4

// Memory: two vectors at a time -------------------------------------------------------------------
//
// Two float vectors are 2 · LANES neighbours in order. bfloat16 is the upper half of a float, so the two
// vectors of one load are its even and its odd elements, which needs no shuffling; `column` tells which
// element of the pair a lane is.

#define PAIR (2 * LANES)

#ifdef MK_BFLOAT16
typedef uint32_t NAME(U) __attribute__((ext_vector_type(LANES)));

static inline __attribute__((always_inline)) int NAME(column)(int vector, int lane) {
  return vector / 2 * PAIR + 2 * lane + vector % 2;
}

static inline __attribute__((always_inline)) void NAME(load)(const DATA *p, V v[2]) {
  NAME(U) both;
  memcpy(&both, p, sizeof(both));
  NAME(U) even = both << 16, odd = both & 0xffff0000;
  memcpy(&v[0], &even, sizeof(even));
  memcpy(&v[1], &odd, sizeof(odd));
}

// Rounds to nearest, ties to even. A NaN stays one: those that arithmetic makes have no low bits to carry.
static inline __attribute__((always_inline)) void NAME(store)(DATA *p, const V v[2], bool stream) {
#ifdef MK_CONVERTS_BFLOAT16
  // The instruction puts the even elements before the odd ones.
  typedef uint16_t Halves __attribute__((ext_vector_type(PAIR)));
  __bf16 __attribute__((vector_size(64))) rounded = __builtin_ia32_cvtne2ps2bf16_512(v[1], v[0]);
  Halves halves;
  memcpy(&halves, &rounded, sizeof(halves));
  halves = __builtin_shufflevector(halves, halves, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25,
                                   10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  NAME(U) both;
  memcpy(&both, &halves, sizeof(both));
#else
  NAME(U) even, odd;
  memcpy(&even, &v[0], sizeof(even));
  memcpy(&odd, &v[1], sizeof(odd));
  even = (even + ((even >> 16) & 1) + 0x7fff) >> 16;
  odd = (odd + ((odd >> 16) & 1) + 0x7fff) & 0xffff0000;
  NAME(U) both = even | odd;
#endif
  if (stream) {
    __builtin_nontemporal_store(both, (NAME(U) *)p);
  } else {
    memcpy(p, &both, sizeof(both));
  }
}

static inline __attribute__((always_inline)) REAL NAME(get)(const DATA *p) {
  uint32_t bits = (uint32_t)*p << 16;
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

static inline __attribute__((always_inline)) void NAME(put)(DATA *p, REAL value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  *p = (uint16_t)((bits + ((bits >> 16) & 1) + 0x7fff) >> 16);
}
#else
static inline __attribute__((always_inline)) int NAME(column)(int vector, int lane) { return vector * LANES + lane; }

static inline __attribute__((always_inline)) void NAME(load)(const DATA *p, V v[2]) { memcpy(v, p, 2 * sizeof(V)); }

static inline __attribute__((always_inline)) void NAME(store)(DATA *p, const V v[2], bool stream) {
  if (stream) {
    __builtin_nontemporal_store(v[0], (V *)p);
    __builtin_nontemporal_store(v[1], (V *)p + 1);
  } else {
    memcpy(p, v, 2 * sizeof(V));
  }
}

static inline __attribute__((always_inline)) REAL NAME(get)(const DATA *p) { return *p; }
static inline __attribute__((always_inline)) void NAME(put)(DATA *p, REAL value) { *p = value; }
#endif

// Whether stores of whole vectors at p are aligned as streaming stores must be.
static inline bool NAME(aligned)(const DATA *p) { return (uintptr_t)p % MK_BYTES == 0; }

// Streaming stores are ordered before what other threads are told next.
static inline void NAME(finish)(bool stream) {
#if defined(__x86_64__)
  if (stream) {
    __builtin_ia32_sfence();
  }
#endif
}

// The sum of all lanes of all vectors.
static inline __attribute__((always_inline)) double NAME(total)(const V v[WIDE]) {
  V sum = (v[0] + v[1]) + (v[2] + v[3]);
  double lanes[LANES];
  for (int i = 0; i < LANES; i++) {
    lanes[i] = sum[i];
  }
  for (int width = LANES / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) {
      lanes[i] += lanes[i + width];
    }
  }
  return lanes[0];
}

// One value and one vector of each formula ----------------------------------------------------------

static inline __attribute__((always_inline)) REAL NAME(activate1)(REAL z, MKActivationKind kind, REAL slope) {
  switch (kind) {
  case MKReLU: return 0 > z ? 0 : z; // this order keeps a NaN, in one instruction
  case MKLeakyReLU: return z <= 0 ? slope * z : z;
  default: return z;
  }
}

static inline __attribute__((always_inline)) void NAME(activate)(V *z, MKActivationKind kind, REAL slope) {
  switch (kind) {
  case MKReLU: *z = (V)0 > *z ? (V)0 : *z; break;
  case MKLeakyReLU: *z = *z <= 0 ? slope * *z : *z; break;
  default: break;
  }
}

// The gradient before the activation, from the one after it and z.
static inline __attribute__((always_inline)) REAL NAME(through1)(REAL g, REAL z, MKActivationKind kind, REAL slope) {
  switch (kind) {
  case MKReLU: return z <= 0 ? 0 : g;
  case MKLeakyReLU: return z <= 0 ? slope * g : g;
  default: return g;
  }
}

static inline __attribute__((always_inline)) void NAME(through)(V *g, const V *z, MKActivationKind kind, REAL slope) {
  switch (kind) {
  case MKReLU: *g = *z <= 0 ? (V)0 : *g; break;
  case MKLeakyReLU: *g = *z <= 0 ? slope * *g : *g; break;
  default: break;
  }
}

// Calls F with the activation's kind as a constant, so that each kind has a loop of its own.
#define FOR_KIND(F, ...)                                                                                            \
  switch (activation.kind) {                                                                                        \
  case MKReLU: F(__VA_ARGS__, MKReLU); break;                                                                       \
  case MKLeakyReLU: F(__VA_ARGS__, MKLeakyReLU); break;                                                             \
  default: F(__VA_ARGS__, MKNoActivation); break;                                                                   \
  }

// Runs -------------------------------------------------------------------------------------------

static void NAME(run_moments)(const void *data, int64_t n, double *mean, double *squares) {
  const DATA *x = data;
  // Deviations from a value in the middle of the data: the subtraction then costs no digits.
  double start = NAME(get)(x);
  if (n >= PAIR) {
    V sample[WIDE] = {0};
    NAME(load)(x, sample);
    start = NAME(total)(sample) / PAIR;
  }
  const REAL center = (REAL)start;
  double sum = 0, square = 0;
  int64_t i = 0;
  while (n - i >= WIDE * LANES) {
    int64_t steps = (n - i) / (WIDE * LANES);
    steps = steps < FLUSH ? steps : FLUSH;
    V s[WIDE] = {0}, q[WIDE] = {0};
    for (int64_t step = 0; step < steps; step++, i += WIDE * LANES) {
#pragma unroll
      for (int k = 0; k < WIDE; k += 2) {
        V d[2];
        NAME(load)(x + i + k * LANES, d);
#pragma unroll
        for (int j = 0; j < 2; j++) {
          d[j] -= center;
          s[k + j] += d[j];
          q[k + j] += d[j] * d[j];
        }
      }
    }
    sum += NAME(total)(s);
    square += NAME(total)(q);
  }
  for (; i < n; i++) {
    double d = (double)NAME(get)(x + i) - center;
    sum += d;
    square += d * d;
  }
  double rest = square - sum * sum / (double)n;
  *mean = center + sum / (double)n;
  *squares = rest < 0 ? 0 : rest;
}

static inline __attribute__((always_inline)) void NAME(run_scale_kind)(const DATA *x, DATA *y, int64_t n, REAL a,
                                                                       REAL c, REAL b, REAL slope, bool stream,
                                                                       MKActivationKind kind) {
  int64_t i = 0;
  if (stream) {
    for (; i < n && !NAME(aligned)(y + i); i++) {
      NAME(put)(y + i, NAME(activate1)(a * (NAME(get)(x + i) - c) + b, kind, slope));
    }
  }
  for (; i + WIDE * LANES <= n; i += WIDE * LANES) {
#pragma unroll
    for (int k = 0; k < WIDE; k += 2) {
      V v[2];
      NAME(load)(x + i + k * LANES, v);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        v[j] = a * (v[j] - c) + b;
        NAME(activate)(&v[j], kind, slope);
      }
      NAME(store)(y + i + k * LANES, v, stream);
    }
  }
  for (; i < n; i++) {
    NAME(put)(y + i, NAME(activate1)(a * (NAME(get)(x + i) - c) + b, kind, slope));
  }
}

static void NAME(run_scale)(const void *x, void *y, int64_t n, MKAffine affine, MKActivation activation, bool stream) {
  REAL a = (REAL)*affine.scale, c = (REAL)*affine.center, b = (REAL)*affine.shift, slope = (REAL)activation.slope;
  if (stream) {
    FOR_KIND(NAME(run_scale_kind), x, y, n, a, c, b, slope, true);
  } else {
    FOR_KIND(NAME(run_scale_kind), x, y, n, a, c, b, slope, false);
  }
  NAME(finish)(stream);
}

static inline __attribute__((always_inline)) void NAME(run_reduce_kind)(const DATA *g, const DATA *x, int64_t n,
                                                                        REAL a, REAL c, REAL b, REAL slope,
                                                                        double *products, double *sums,
                                                                        MKActivationKind kind) {
  double product = 0, sum = 0;
  int64_t i = 0;
  while (n - i >= WIDE * LANES) {
    int64_t steps = (n - i) / (WIDE * LANES);
    steps = steps < FLUSH ? steps : FLUSH;
    V p[WIDE] = {0}, s[WIDE] = {0};
    for (int64_t step = 0; step < steps; step++, i += WIDE * LANES) {
#pragma unroll
      for (int k = 0; k < WIDE; k += 2) {
        V d[2], h[2];
        NAME(load)(x + i + k * LANES, d);
        NAME(load)(g + i + k * LANES, h);
#pragma unroll
        for (int j = 0; j < 2; j++) {
          d[j] -= c;
          V z = a * d[j] + b;
          NAME(through)(&h[j], &z, kind, slope);
          p[k + j] += h[j] * d[j];
          s[k + j] += h[j];
        }
      }
    }
    product += NAME(total)(p);
    sum += NAME(total)(s);
  }
  for (; i < n; i++) {
    REAL d = NAME(get)(x + i) - c;
    REAL h = NAME(through1)(NAME(get)(g + i), a * d + b, kind, slope);
    product += (double)h * d;
    sum += h;
  }
  *products = product;
  *sums = sum;
}

static void NAME(run_reduce)(const void *g, const void *x, int64_t n, MKAffine affine, MKActivation activation,
                             double *products, double *sums) {
  REAL a = (REAL)*affine.scale, c = (REAL)*affine.center, b = (REAL)*affine.shift, slope = (REAL)activation.slope;
  FOR_KIND(NAME(run_reduce_kind), g, x, n, a, c, b, slope, products, sums);
}

static inline __attribute__((always_inline)) void NAME(run_apply_kind)(const DATA *g, const DATA *x, DATA *dx,
                                                                       int64_t n, REAL a, REAL c, REAL b, REAL f,
                                                                       REAL o, REAL slope, bool stream,
                                                                       MKActivationKind kind) {
  int64_t i = 0;
#define ONE_APPLY()                                                                                                 \
  do {                                                                                                              \
    REAL d = NAME(get)(x + i) - c;                                                                                  \
    REAL h = NAME(through1)(NAME(get)(g + i), a * d + b, kind, slope);                                              \
    NAME(put)(dx + i, a * h + (f * d + o));                                                                         \
  } while (0)
  if (stream) {
    for (; i < n && !NAME(aligned)(dx + i); i++) {
      ONE_APPLY();
    }
  }
  for (; i + WIDE * LANES <= n; i += WIDE * LANES) {
#pragma unroll
    for (int k = 0; k < WIDE; k += 2) {
      V d[2], h[2];
      NAME(load)(x + i + k * LANES, d);
      NAME(load)(g + i + k * LANES, h);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        d[j] -= c;
        V z = a * d[j] + b;
        NAME(through)(&h[j], &z, kind, slope);
        h[j] = a * h[j] + (f * d[j] + o);
      }
      NAME(store)(dx + i + k * LANES, h, stream);
    }
  }
  for (; i < n; i++) {
    ONE_APPLY();
  }
#undef ONE_APPLY
}

static void NAME(run_apply)(const void *g, const void *x, void *dx, int64_t n, MKAffine affine, MKSlope gradient,
                            MKActivation activation, bool stream) {
  REAL a = (REAL)*affine.scale, c = (REAL)*affine.center, b = (REAL)*affine.shift, slope = (REAL)activation.slope;
  REAL f = (REAL)*gradient.factor, o = (REAL)*gradient.offset;
  if (stream) {
    FOR_KIND(NAME(run_apply_kind), g, x, dx, n, a, c, b, f, o, slope, true);
  } else {
    FOR_KIND(NAME(run_apply_kind), g, x, dx, n, a, c, b, f, o, slope, false);
  }
  NAME(finish)(stream);
}

// Rows -------------------------------------------------------------------------------------------
//
// Several rows are taken as one long row where a single one is no whole number of pairs: column j
// of the long row then belongs to channel j mod channels. What is left over are single rows.

typedef struct {
  int64_t columns; // of the long row: a multiple of PAIR
  int64_t copies;  // rows in a long row
  int64_t rows;    // long rows
  int64_t left;    // single rows after them
} NAME(Fold);

static inline NAME(Fold) NAME(fold)(int64_t rows, int64_t channels) {
  int64_t copies = 1;
  while (copies * channels % PAIR != 0) {
    copies++;
  }
  NAME(Fold) fold = {copies * channels, copies, rows / copies, rows % copies};
  return fold;
}

// Where the values of column j of a tile are in vectors laid one after the other.
static inline int64_t NAME(place)(int64_t j) {
#ifdef MK_BFLOAT16
  return j / PAIR * PAIR + j % 2 * LANES + j % PAIR / 2;
#else
  return j;
#endif
}

// The coefficients of `count` columns from `first` on, as vectors.
static inline void NAME(gather)(REAL *to, const double *from, int64_t first, int64_t count, int64_t channels) {
  int64_t channel = first % channels;
  for (int64_t j = 0; j < count; j++) {
    to[NAME(place)(j)] = (REAL)from[channel];
    if (++channel == channels) {
      channel = 0;
    }
  }
}

// Calls F with the number of vectors of a column tile as a constant, and how many rows at a time keep
// the processor busy.
#define FOR_VECTORS(vectors, F, ...)                                                                                \
  if ((vectors) == 2) {                                                                                             \
    F(__VA_ARGS__, 2, 2);                                                                                           \
  } else {                                                                                                          \
    F(__VA_ARGS__, 4, 1);                                                                                           \
  }

#define MK_TILE (WIDE * LANES)

// Two sums per column over `rows` rows: ONE(row, into) adds one row's pair k to `first` and `second`, of which the
// sets from `into` on are independent. They go on in double before they lose digits.
#define SUM_ROWS(ONE, first_sums, second_sums)                                                                      \
  for (int64_t row = 0; row < rows;) {                                                                              \
    int64_t end = rows - row < FLUSH * unroll ? rows : row + FLUSH * unroll;                                        \
    V first[WIDE] = {0}, second[WIDE] = {0};                                                                        \
    for (; row + unroll <= end; row += unroll) {                                                                    \
      _Pragma("unroll") for (int u = 0; u < unroll; u++) {                                                          \
        _Pragma("unroll") for (int k = 0; k < vectors; k += 2) { ONE(row + u, u * vectors + k); }                   \
      }                                                                                                             \
    }                                                                                                               \
    for (; row < end; row++) {                                                                                      \
      _Pragma("unroll") for (int k = 0; k < vectors; k += 2) { ONE(row, k); }                                       \
    }                                                                                                               \
    for (int v = 0; v < unroll * vectors; v++) {                                                                    \
      for (int lane = 0; lane < LANES; lane++) {                                                                    \
        int column = NAME(column)(v % vectors, lane);                                                               \
        (first_sums)[column] += first[v][lane];                                                                     \
        (second_sums)[column] += second[v][lane];                                                                   \
      }                                                                                                             \
    }                                                                                                               \
  }

static inline __attribute__((always_inline)) void NAME(tile_moments)(const DATA *x, int64_t rows, int64_t pitch,
                                                                     const REAL *centers, double *sums,
                                                                     double *squares, const int vectors,
                                                                     const int unroll) {
  V c[WIDE];
  memcpy(c, centers, sizeof(c));
#define ONE_MOMENT(at, into)                                                                                        \
  do {                                                                                                              \
    V d[2];                                                                                                         \
    NAME(load)(x + (at) * pitch + k * LANES, d);                                                                    \
    _Pragma("unroll") for (int j = 0; j < 2; j++) {                                                                 \
      d[j] -= c[k + j];                                                                                             \
      first[(into) + j] += d[j];                                                                                    \
      second[(into) + j] += d[j] * d[j];                                                                            \
    }                                                                                                               \
  } while (0)
  SUM_ROWS(ONE_MOMENT, sums, squares)
#undef ONE_MOMENT
}

static void NAME(rows_moments)(const void *data, int64_t rows, int64_t channels, double *mean, double *squares) {
  const DATA *x = data;
  NAME(Fold) fold = NAME(fold)(rows, channels);
  double found[MK_TILE], found_squares[MK_TILE];
  for (int64_t column = 0; fold.rows > 0 && column < fold.columns; column += MK_TILE) {
    int64_t width = fold.columns - column < MK_TILE ? fold.columns - column : MK_TILE;
    const DATA *start = x + column;
    // Deviations from the mean of a few rows.
    REAL centers[MK_TILE] __attribute__((aligned(64))) = {0};
    double sums[MK_TILE] = {0}, sum_squares[MK_TILE] = {0};
    int64_t sample = fold.rows < 4 ? fold.rows : 4;
    for (int64_t row = 0; row < sample; row++) {
      for (int64_t j = 0; j < width; j += PAIR) {
        V v[2], c[2];
        NAME(load)(start + row * fold.columns + j, v);
        memcpy(c, centers + j, sizeof(c));
        c[0] += v[0] / (REAL)sample;
        c[1] += v[1] / (REAL)sample;
        memcpy(centers + j, c, sizeof(c));
      }
    }
    FOR_VECTORS(width / LANES, NAME(tile_moments), start, fold.rows, fold.columns, centers, sums, sum_squares);
    double reciprocal = 1.0 / (double)fold.rows;
    for (int64_t j = 0; j < width; j++) {
      double shift = sums[j] * reciprocal;
      double rest = sum_squares[j] - sums[j] * shift;
      found[j] = centers[NAME(place)(j)] + shift;
      found_squares[j] = rest < 0 ? 0 : rest;
    }
    // Columns of the same channel come together here; their order is that of the long row.
    for (int64_t j = 0; j < width;) {
      int64_t copy = (column + j) / channels, channel = (column + j) % channels;
      int64_t count = channels - channel < width - j ? channels - channel : width - j;
      if (copy == 0) {
        memcpy(mean + channel, found + j, (size_t)count * sizeof(double));
        memcpy(squares + channel, found_squares + j, (size_t)count * sizeof(double));
      } else {
        mk_merge(mean + channel, squares + channel, copy * fold.rows, found + j, found_squares + j, fold.rows, count);
      }
      j += count;
    }
  }
  int64_t before = fold.rows * fold.copies;
  for (int64_t row = before; row < rows; row++) {
    for (int64_t c = 0; c < channels; c++) {
      double value = NAME(get)(x + row * channels + c), none = 0;
      if (row == 0) {
        mean[c] = value;
        squares[c] = 0;
      } else {
        mk_merge(mean + c, squares + c, row, &value, &none, 1, 1);
      }
    }
  }
}

static inline __attribute__((always_inline)) void NAME(tile_scale)(const DATA *x, DATA *y, int64_t rows,
                                                                   int64_t pitch, const REAL *table, REAL slope,
                                                                   bool stream, MKActivationKind kind,
                                                                   const int vectors, const int unroll) {
  (void)unroll;
  V a[WIDE], c[WIDE], b[WIDE];
  memcpy(a, table, sizeof(a));
  memcpy(c, table + MK_TILE, sizeof(c));
  memcpy(b, table + 2 * MK_TILE, sizeof(b));
  for (int64_t row = 0; row < rows; row++) {
#pragma unroll
    for (int k = 0; k < vectors; k += 2) {
      V v[2];
      NAME(load)(x + row * pitch + k * LANES, v);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        v[j] = a[k + j] * (v[j] - c[k + j]) + b[k + j];
        NAME(activate)(&v[j], kind, slope);
      }
      NAME(store)(y + row * pitch + k * LANES, v, stream);
    }
  }
}

static inline __attribute__((always_inline)) void NAME(rows_scale_kind)(const DATA *x, DATA *y, int64_t rows,
                                                                        int64_t channels, MKAffine affine, REAL slope,
                                                                        bool stream, MKActivationKind kind) {
  NAME(Fold) fold = NAME(fold)(rows, channels);
  for (int64_t column = 0; fold.rows > 0 && column < fold.columns; column += MK_TILE) {
    int64_t width = fold.columns - column < MK_TILE ? fold.columns - column : MK_TILE;
    REAL table[3 * MK_TILE] __attribute__((aligned(64))) = {0};
    NAME(gather)(table, affine.scale, column, width, channels);
    NAME(gather)(table + MK_TILE, affine.center, column, width, channels);
    NAME(gather)(table + 2 * MK_TILE, affine.shift, column, width, channels);
    FOR_VECTORS(width / LANES, NAME(tile_scale), x + column, y + column, fold.rows, fold.columns, table, slope, stream,
                kind);
  }
  for (int64_t row = fold.rows * fold.copies; row < rows; row++) {
    for (int64_t c = 0; c < channels; c++) {
      REAL d = NAME(get)(x + row * channels + c) - (REAL)affine.center[c];
      REAL z = (REAL)affine.scale[c] * d + (REAL)affine.shift[c];
      NAME(put)(y + row * channels + c, NAME(activate1)(z, kind, slope));
    }
  }
}

static void NAME(rows_scale)(const void *x, void *data, int64_t rows, int64_t channels, MKAffine affine,
                             MKActivation activation, bool stream) {
  DATA *y = data;
  REAL slope = (REAL)activation.slope;
  if (stream && NAME(aligned)(y)) {
    FOR_KIND(NAME(rows_scale_kind), x, y, rows, channels, affine, slope, true);
  } else {
    FOR_KIND(NAME(rows_scale_kind), x, y, rows, channels, affine, slope, false);
  }
  NAME(finish)(stream);
}

static inline __attribute__((always_inline)) void NAME(tile_reduce)(const DATA *g, const DATA *x, int64_t rows,
                                                                    int64_t pitch, int64_t g_pitch,
                                                                    const REAL *table, REAL slope,
                                                                    double *products, double *sums,
                                                                    MKActivationKind kind, const int vectors,
                                                                    const int unroll) {
  V a[WIDE], c[WIDE], b[WIDE];
  memcpy(a, table, sizeof(a));
  memcpy(c, table + MK_TILE, sizeof(c));
  memcpy(b, table + 2 * MK_TILE, sizeof(b));
#define ONE_REDUCE(at, into)                                                                                        \
  do {                                                                                                              \
    V d[2], h[2];                                                                                                   \
    NAME(load)(x + (at) * pitch + k * LANES, d);                                                                    \
    NAME(load)(g + (at) * g_pitch + k * LANES, h);                                                                  \
    _Pragma("unroll") for (int j = 0; j < 2; j++) {                                                                 \
      d[j] -= c[k + j];                                                                                             \
      V z = a[k + j] * d[j] + b[k + j];                                                                             \
      NAME(through)(&h[j], &z, kind, slope);                                                                        \
      first[(into) + j] += h[j] * d[j];                                                                             \
      second[(into) + j] += h[j];                                                                                   \
    }                                                                                                               \
  } while (0)
  SUM_ROWS(ONE_REDUCE, products, sums)
#undef ONE_REDUCE
}

static inline __attribute__((always_inline)) void NAME(rows_reduce_kind)(const DATA *g, const DATA *x, int64_t rows,
                                                                         int64_t channels, int64_t g_channels,
                                                                         MKAffine affine, REAL slope,
                                                                         double *products, double *sums,
                                                                         MKActivationKind kind) {
  NAME(Fold) fold = NAME(fold)(rows, channels);
  memset(products, 0, (size_t)channels * sizeof(double));
  memset(sums, 0, (size_t)channels * sizeof(double));
  for (int64_t column = 0; fold.rows > 0 && column < fold.columns; column += MK_TILE) {
    int64_t width = fold.columns - column < MK_TILE ? fold.columns - column : MK_TILE;
    REAL table[3 * MK_TILE] __attribute__((aligned(64))) = {0};
    double found[MK_TILE] = {0}, found_sums[MK_TILE] = {0};
    NAME(gather)(table, affine.scale, column, width, channels);
    NAME(gather)(table + MK_TILE, affine.center, column, width, channels);
    NAME(gather)(table + 2 * MK_TILE, affine.shift, column, width, channels);
    FOR_VECTORS(width / LANES, NAME(tile_reduce), g + column, x + column, fold.rows, fold.columns,
                fold.copies * g_channels, table, slope, found, found_sums, kind);
    for (int64_t j = 0; j < width;) {
      int64_t channel = (column + j) % channels;
      int64_t count = channels - channel < width - j ? channels - channel : width - j;
      for (int64_t i = 0; i < count; i++) {
        products[channel + i] += found[j + i];
        sums[channel + i] += found_sums[j + i];
      }
      j += count;
    }
  }
  for (int64_t row = fold.rows * fold.copies; row < rows; row++) {
    for (int64_t c = 0; c < channels; c++) {
      REAL d = NAME(get)(x + row * channels + c) - (REAL)affine.center[c];
      REAL z = (REAL)affine.scale[c] * d + (REAL)affine.shift[c];
      REAL h = NAME(through1)(NAME(get)(g + row * g_channels + c), z, kind, slope);
      products[c] += (double)h * d;
      sums[c] += h;
    }
  }
}

static void NAME(rows_reduce)(const void *g, const void *x, int64_t rows, int64_t channels, int64_t g_channels,
                              MKAffine affine, MKActivation activation, double *products, double *sums) {
  REAL slope = (REAL)activation.slope;
  FOR_KIND(NAME(rows_reduce_kind), g, x, rows, channels, g_channels, affine, slope, products, sums);
}

static inline __attribute__((always_inline)) void NAME(tile_apply)(const DATA *g, const DATA *x, DATA *dx,
                                                                   int64_t rows, int64_t pitch, int64_t g_pitch,
                                                                   const REAL *table, REAL slope, bool stream,
                                                                   MKActivationKind kind, const int vectors,
                                                                   const int unroll) {
  (void)unroll;
  V a[WIDE], c[WIDE], b[WIDE], f[WIDE], o[WIDE];
  memcpy(a, table, sizeof(a));
  memcpy(c, table + MK_TILE, sizeof(c));
  memcpy(b, table + 2 * MK_TILE, sizeof(b));
  memcpy(f, table + 3 * MK_TILE, sizeof(f));
  memcpy(o, table + 4 * MK_TILE, sizeof(o));
  for (int64_t row = 0; row < rows; row++) {
#pragma unroll
    for (int k = 0; k < vectors; k += 2) {
      V d[2], h[2];
      NAME(load)(x + row * pitch + k * LANES, d);
      NAME(load)(g + row * g_pitch + k * LANES, h);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        d[j] -= c[k + j];
        V z = a[k + j] * d[j] + b[k + j];
        NAME(through)(&h[j], &z, kind, slope);
        h[j] = a[k + j] * h[j] + (f[k + j] * d[j] + o[k + j]);
      }
      NAME(store)(dx + row * pitch + k * LANES, h, stream);
    }
  }
}

static inline __attribute__((always_inline)) void NAME(rows_apply_kind)(const DATA *g, const DATA *x, DATA *dx,
                                                                        int64_t rows, int64_t channels,
                                                                        int64_t g_channels,
                                                                        MKAffine affine, MKSlope gradient, REAL slope,
                                                                        bool stream, MKActivationKind kind) {
  NAME(Fold) fold = NAME(fold)(rows, channels);
  for (int64_t column = 0; fold.rows > 0 && column < fold.columns; column += MK_TILE) {
    int64_t width = fold.columns - column < MK_TILE ? fold.columns - column : MK_TILE;
    REAL table[5 * MK_TILE] __attribute__((aligned(64))) = {0};
    NAME(gather)(table, affine.scale, column, width, channels);
    NAME(gather)(table + MK_TILE, affine.center, column, width, channels);
    NAME(gather)(table + 2 * MK_TILE, affine.shift, column, width, channels);
    NAME(gather)(table + 3 * MK_TILE, gradient.factor, column, width, channels);
    NAME(gather)(table + 4 * MK_TILE, gradient.offset, column, width, channels);
    FOR_VECTORS(width / LANES, NAME(tile_apply), g + column, x + column, dx + column, fold.rows, fold.columns,
                fold.copies * g_channels, table, slope, stream, kind);
  }
  for (int64_t row = fold.rows * fold.copies; row < rows; row++) {
    for (int64_t c = 0; c < channels; c++) {
      int64_t i = row * channels + c;
      REAL a = (REAL)affine.scale[c], d = NAME(get)(x + i) - (REAL)affine.center[c];
      REAL h = NAME(through1)(NAME(get)(g + row * g_channels + c), a * d + (REAL)affine.shift[c], kind, slope);
      NAME(put)(dx + i, a * h + ((REAL)gradient.factor[c] * d + (REAL)gradient.offset[c]));
    }
  }
}

static void NAME(rows_apply)(const void *g, const void *x, void *data, int64_t rows, int64_t channels,
                             int64_t g_channels, MKAffine affine, MKSlope gradient, MKActivation activation, bool stream) {
  DATA *dx = data;
  REAL slope = (REAL)activation.slope;
  if (stream && NAME(aligned)(dx)) {
    FOR_KIND(NAME(rows_apply_kind), g, x, dx, rows, channels, g_channels, affine, gradient, slope, true);
  } else {
    FOR_KIND(NAME(rows_apply_kind), g, x, dx, rows, channels, g_channels, affine, gradient, slope, false);
  }
  NAME(finish)(stream);
}

#undef V
#undef FLUSH
#undef WIDE
#undef MK_TILE
#undef SUM_ROWS
#undef PAIR
#undef FOR_KIND
#undef FOR_VECTORS
