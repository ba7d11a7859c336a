// Code that drawing masks and writing classes share: rows of bits, and sums of cells. All functions are static: see simd.h.
#pragma once

#include "../resampling/lines_cpu.h"
#include "panoptic_merge_cpu.h"

namespace condinst::panoptic_merge {
namespace CONDINST_ISA {

using namespace resampling::CONDINST_ISA;

constexpr int64_t kWord = 64;

static inline uint64_t first_bits(int64_t count) {
  return count >= kWord ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Calls f(word, bits) for the words of [begin, end), with the bits of each that are in it.
template <class F>
static inline void for_words(int64_t begin, int64_t end, const F& f) {
  for (int64_t word = begin / kWord; word * kWord < end; ++word) {
    const int64_t first = std::max<int64_t>(begin - word * kWord, 0);
    f(word, first_bits(end - word * kWord) & ~uint64_t{0} << first);
  }
}

// Weighted sum of the first `taps` cells. With two taps the weight of the third cell is 0, and the sum is equal: cells are
// finite, and adding a zero can only change the sign of a zero, which no comparison sees.
template <int taps>
static inline FloatVector sum(const FloatVector (&weights)[kTaps], const FloatVector (&cells)[kTaps]) {
  const FloatVector first = weights[0] * cells[0];
  const FloatVector both = first + weights[1] * cells[1];
  if constexpr (taps == 2) {
    return both;
  }
  return both + weights[2] * cells[2];
}

constexpr int kTile = kWidth - kTaps + 1;  // cells at which pixels begin, so that all of their cells are in one vector
constexpr int kMostVectors = 4;            // of pixels at a time

}  // namespace CONDINST_ISA
}  // namespace condinst::panoptic_merge
