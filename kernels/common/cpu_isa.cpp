#include "cpu_isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace condinst {

CpuFeatures cpu_features() {
  CpuFeatures features{};
#if defined(__x86_64__)
  __builtin_cpu_init();
  features.avx2 = __builtin_cpu_supports("avx2");
  features.avx512f = __builtin_cpu_supports("avx512f");
  features.avx512bw = __builtin_cpu_supports("avx512bw");
  features.avx512dq = __builtin_cpu_supports("avx512dq");
  features.avx512vl = __builtin_cpu_supports("avx512vl");
  features.f16c = __builtin_cpu_supports("f16c");
  features.fma = __builtin_cpu_supports("fma");
#elif defined(__aarch64__)
  features.neon = true;  // NEON is part of the architecture
#endif
  return features;
}

static CpuIsa best_isa() {
  const CpuFeatures has = cpu_features();
  if (!(has.avx2 && has.fma && has.f16c)) {
    return CpuIsa::baseline;
  }
  return has.avx512f && has.avx512bw && has.avx512dq && has.avx512vl ? CpuIsa::avx512 : CpuIsa::avx2;
}

static CpuIsa chosen_isa() {
  const CpuIsa best = best_isa();
  const char* wanted = std::getenv("CONDINST_CPU_ISA");
  if (wanted == nullptr || *wanted == '\0') {
    return best;
  }
  for (const CpuIsa isa : {CpuIsa::baseline, CpuIsa::avx2, CpuIsa::avx512}) {
    if (name(isa) == std::string(wanted) && isa <= best) {
      return isa;
    }
  }
  throw std::invalid_argument(std::string("environment variable CONDINST_CPU_ISA: expected baseline, avx2 or avx512, at most ") +
                              name(best) + " on this CPU; got '" + wanted + "'");
}

CpuIsa cpu_isa() {
  static const CpuIsa isa = chosen_isa();
  return isa;
}

const char* name(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::avx512:
      return "avx512";
    case CpuIsa::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

}  // namespace condinst
