// Which compiled table a processor can run.
#include "CMomentKernels.h"

#include <string.h>

extern const MKInstructionSet mk_baseline;
#if defined(__x86_64__)
extern const MKInstructionSet mk_x86_64_v3, mk_x86_64_v4, mk_x86_64_v4_bf16;
#endif

int mk_available(const MKInstructionSet **sets, int capacity) {
  int count = 0;
#if defined(__x86_64__)
  // Features by name, not by level: older compiler run times do not know the levels.
  __builtin_cpu_init();
  bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
            __builtin_cpu_supports("bmi2");
  bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl");
  if (v4 && __builtin_cpu_supports("avx512bf16") && count < capacity) {
    sets[count++] = &mk_x86_64_v4_bf16;
  }
  if (v4 && count < capacity) {
    sets[count++] = &mk_x86_64_v4;
  }
  if (v3 && count < capacity) {
    sets[count++] = &mk_x86_64_v3;
  }
#endif
  if (count < capacity) {
    sets[count++] = &mk_baseline;
  }
  return count;
}

const MKInstructionSet *mk_named(const char *name) {
  const MKInstructionSet *sets[4];
  int count = mk_available(sets, 4);
  for (int i = 0; i < count; i++) {
    if (strcmp(sets[i]->name, name) == 0) {
      return sets[i];
    }
  }
  return 0;
}

void mk_merge(double *restrict mean, double *restrict squares, int64_t before, const double *restrict more_mean,
              const double *restrict more_squares, int64_t count, int64_t channels) {
  double total = (double)before + (double)count;
  double share = (double)count / total;
  double spread = (double)before * share;
  for (int64_t c = 0; c < channels; c++) {
    double difference = more_mean[c] - mean[c];
    mean[c] += difference * share;
    squares[c] += more_squares[c] + difference * difference * spread;
  }
}
