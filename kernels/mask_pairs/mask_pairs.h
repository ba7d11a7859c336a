// The overlap of packed masks, for mask_nms and matrix_nms on CPU and CUDA. All functions are static: see simd.h.
#pragma once

#include <cstdint>

#include "../common/host_device.h"

namespace condinst::mask_pairs {

// The words of a mask that vectors process together: ranges of words are whole blocks, except at the end of a mask.
constexpr int64_t kBlockWords = 8;

// The summary of a mask, computed before comparisons.
struct Summary {
  int64_t area;        // pixels
  int64_t begin, end;  // the words that can contain pixels, in whole blocks; 0, 0 for an empty mask
};

// Packed masks [count, words] and a summary of each.
struct Masks {
  const uint64_t* bits;
  Summary* summaries;
  int64_t count, words;
};

static inline CONDINST_HOST_DEVICE const uint64_t* bits_of(const Masks& masks, int64_t mask) {
  return masks.bits + mask * masks.words;
}

// The summary of a mask with `area` pixels whose first and last nonzero words are `first` and `last`.
static inline CONDINST_HOST_DEVICE Summary make_summary(int64_t area, int64_t first, int64_t last, int64_t words) {
  if (area == 0) {
    return {0, 0, 0};
  }
  const int64_t end = (last / kBlockWords + 1) * kBlockWords;
  return {area, first / kBlockWords * kBlockWords, end < words ? end : words};
}

// [begin, end) are the words that can contain pixels of both masks; none if end <= begin.
struct Range {
  int64_t begin, end;
};

static inline CONDINST_HOST_DEVICE Range common(const Summary& one, const Summary& other) {
  return {one.begin > other.begin ? one.begin : other.begin, one.end < other.end ? one.end : other.end};
}

// NaN for two empty masks, which is above no threshold.
static inline CONDINST_HOST_DEVICE float iou(int64_t intersection, const Summary& one, const Summary& other) {
  return static_cast<float>(intersection) / static_cast<float>(one.area + other.area - intersection);
}

// Whether the IoU of two masks can be above the threshold: the IoU is highest if one mask contains the other, and rounding
// preserves the order of quotients.
static inline CONDINST_HOST_DEVICE bool may_exceed(float threshold, const Summary& one, const Summary& other) {
  const int64_t smaller = one.area < other.area ? one.area : other.area;
  const int64_t larger = one.area < other.area ? other.area : one.area;
  return static_cast<float>(smaller) / static_cast<float>(larger) > threshold;
}

}  // namespace condinst::mask_pairs
