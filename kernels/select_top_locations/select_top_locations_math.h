// Scores of locations as keys: the better of two locations of an object has the larger key, and no two are equal.
#pragma once

#include <cmath>
#include <cstring>

#include "select_top_locations.h"

namespace condinst::select_top_locations {

static inline CONDINST_HOST_DEVICE float sigmoid(float x) { return 1 / (1 + expf(-x)); }

// Whether a comes before b; NaN is the largest, as in PyTorch's sort and max.
static inline CONDINST_HOST_DEVICE bool exceeds(float a, float b) { return a > b || (a != a && b == b); }

// Scores are in 0 .. 1, where bits are in the order of the numbers. Of equal scores the lower location is better.
static inline CONDINST_HOST_DEVICE uint64_t key_of(float class_logit, float centerness_logit, int64_t location) {
  const float score = sigmoid(class_logit) * sigmoid(centerness_logit);
  uint32_t bits = 0x7fffffff;  // of NaN
  if (score == score) {
    memcpy(&bits, &score, sizeof(bits));
  }
  return static_cast<uint64_t>(bits) << 32 | (0xffffffffu - static_cast<uint32_t>(location));
}

static inline CONDINST_HOST_DEVICE int64_t location_of(uint64_t key) {
  return 0xffffffffu - static_cast<uint32_t>(key);
}

}  // namespace condinst::select_top_locations
