// Selects the instruction set of the CPU kernels on this machine.
#pragma once

namespace condinst {

enum class CpuIsa { baseline, avx2, avx512 };

struct CpuFeatures {
  bool avx2, avx512f, avx512bw, avx512dq, avx512vl, f16c, fma, neon;
};

CpuFeatures cpu_features();

// The best instruction set of this CPU, or that of the environment variable CONDINST_CPU_ISA (read once). Throws
// std::invalid_argument for an unknown name or an instruction set that this CPU lacks.
CpuIsa cpu_isa();

const char* name(CpuIsa isa);

}  // namespace condinst

// Every `*_cpu.cpp` is compiled once per instruction set, with CONDINST_ISA as the name of an inner namespace. In a header,
// CONDINST_FOR_EACH_ISA(declarations) declares the functions of such a file; in a caller, CONDINST_CPU_KERNEL(f) is the `f`
// for this machine.
#if defined(__x86_64__)
#define CONDINST_FOR_EACH_ISA(...)          \
  namespace baseline {                      \
  __VA_ARGS__                               \
  }                                         \
  namespace avx2 {                          \
  __VA_ARGS__                               \
  }                                         \
  namespace avx512 {                        \
  __VA_ARGS__                               \
  }
#define CONDINST_CPU_KERNEL(f)                                     \
  (::condinst::cpu_isa() == ::condinst::CpuIsa::avx512 ? avx512::f \
   : ::condinst::cpu_isa() == ::condinst::CpuIsa::avx2 ? avx2::f   \
                                                       : baseline::f)
#else
#define CONDINST_FOR_EACH_ISA(...) \
  namespace baseline {             \
  __VA_ARGS__                      \
  }
#define CONDINST_CPU_KERNEL(f) (baseline::f)
#endif
