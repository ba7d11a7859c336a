// Whether a comparison of vectors holds anywhere.
#pragma once

#include "simd.h"

namespace condinst {
namespace CONDINST_ISA {
namespace {

// Lanes are all ones or 0, as comparisons make them.
static inline bool any(IntVector lanes) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask(bit_cast<__m512i>(lanes), bit_cast<__m512i>(lanes)) != 0;
#elif defined(__AVX2__)
  return _mm256_testz_si256(bit_cast<__m256i>(lanes), bit_cast<__m256i>(lanes)) == 0;
#elif defined(__x86_64__)
  return _mm_movemask_epi8(bit_cast<__m128i>(lanes)) != 0;
#else
  int32_t all = 0;
  for (int lane = 0; lane < kLanes<float>; ++lane) {
    all |= lanes[lane];
  }
  return all != 0;
#endif
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst
