// Whether a comparison of vectors holds anywhere, and in which lanes.
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

// Bit i is set where values[i] > bound[i]; NaN is not above.
static inline uint32_t bits_above(FloatVector values, FloatVector bound) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(bit_cast<__m512>(values), bit_cast<__m512>(bound), _CMP_GT_OQ);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(bit_cast<__m256>(values > bound)));
#elif defined(__x86_64__)
  return static_cast<uint32_t>(_mm_movemask_ps(bit_cast<__m128>(values > bound)));
#else
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanes<float>; ++lane) {
    bits |= uint32_t{values[lane] > bound[lane]} << lane;
  }
  return bits;
#endif
}

static inline uint32_t bits_above(Vector<double> values, Vector<double> bound) {
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanes<double>; ++lane) {
    bits |= uint32_t{values[lane] > bound[lane]} << lane;
  }
  return bits;
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst
