// Code that the CPU and the CUDA kernels of decode_detections share: arguments, scores, order, boxes. All functions are
// static: see simd.h. Which pairs are candidates must not depend on fused operations: see CMakeLists.txt.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "../common/element_type.h"
#include "../common/falling.h"
#include "../common/host_device.h"

namespace condinst::decode_detections {

constexpr int kMaxLevels = 16;

struct Level {
  int64_t first_location;
  int64_t cells;        // height * width, and cells * num_classes is below 2^32
  int64_t width;
  int64_t stride;       // pixels
  int64_t first_place;  // of the level in an image, if all levels before it were full
  int64_t places;       // min(top_k, cells * num_classes)
  int64_t first_band;   // of the level in an image
  int64_t bands;
};

// All arrays are contiguous.
struct Args {
  const void* class_logits;        // [num_images, num_locations, num_classes] of logits_type
  ElementType logits_type;         // floating, not float64
  const float* centerness_logits;  // [num_images, num_locations]
  const float* box_distances;      // [num_images, num_locations, 4] (l, t, r, b) in strides
  int64_t num_images, num_locations, num_classes;
  int num_levels;
  Level levels[kMaxLevels];
  int64_t band_cells;              // cells of a band; the last band of a level may be shorter
  int64_t bands;                   // per image
  int64_t places;                  // K, per image
  int64_t top_k;
  float score_threshold, product_threshold;
  bool threshold_with_centerness;
  float* boxes;                    // [num_images, places, 4] out
  float* scores;                   // [num_images, places] out
  int64_t* labels;                 // [num_images, places] out
  int64_t* location_indices;       // [num_images, places] out
  int64_t* counts;                 // [num_images] out
};

static inline CONDINST_HOST_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Whether a pair is a candidate, and its score, from the two probabilities. A pair with NaN is not a candidate.
static inline CONDINST_HOST_DEVICE bool is_candidate(const Args& args, float class_score, float centerness,
                                                     float* score) {
  const float product = class_score * centerness;
  *score = sqrtf(product);
  return args.threshold_with_centerness ? product > args.product_threshold && *score > args.score_threshold
                                        : class_score > args.product_threshold && product == product;
}

// A candidate of a level. Better candidates compare as smaller, and no two are equal. `index` is cell * num_classes +
// class.
static inline CONDINST_HOST_DEVICE uint64_t key_of(float score, int64_t index) {
  return static_cast<uint64_t>(falling(score)) << 32 | static_cast<uint64_t>(index);
}

static inline CONDINST_HOST_DEVICE int64_t index_of(uint64_t key) { return static_cast<int64_t>(key & 0xffffffffu); }

static inline CONDINST_HOST_DEVICE float score_of(uint64_t key) {
  const uint32_t bits = ~static_cast<uint32_t>(key >> 32) & 0x7fffffffu;  // scores are not negative
  float score;
  memcpy(&score, &bits, sizeof(score));
  return score;
}

// The level of a band of an image.
static inline CONDINST_HOST_DEVICE int level_of_band(const Args& args, int64_t band) {
  int level = 0;
  while (band >= args.levels[level].first_band + args.levels[level].bands) {
    ++level;
  }
  return level;
}

// Fills place `place` of an image with a candidate of a level.
static inline CONDINST_HOST_DEVICE void write_candidate(const Args& args, int64_t image, const Level& level,
                                                        uint64_t key, int64_t place) {
  const int64_t index = index_of(key);
  const int64_t cell = index / args.num_classes;
  const int64_t location = level.first_location + cell;
  const int64_t row = cell / level.width;
  const float x = static_cast<float>((cell - row * level.width) * level.stride + level.stride / 2);
  const float y = static_cast<float>(row * level.stride + level.stride / 2);
  const float stride = static_cast<float>(level.stride);
  const float* distances = args.box_distances + 4 * (image * args.num_locations + location);
  const int64_t to = image * args.places + place;
  args.boxes[4 * to] = x - distances[0] * stride;
  args.boxes[4 * to + 1] = y - distances[1] * stride;
  args.boxes[4 * to + 2] = x + distances[2] * stride;
  args.boxes[4 * to + 3] = y + distances[3] * stride;
  args.scores[to] = score_of(key);
  args.labels[to] = index - cell * args.num_classes;
  args.location_indices[to] = location;
}

static inline CONDINST_HOST_DEVICE void write_free(const Args& args, int64_t image, int64_t place) {
  const int64_t to = image * args.places + place;
  for (int i = 0; i < 4; ++i) {
    args.boxes[4 * to + i] = 0;
  }
  args.scores[to] = 0;
  args.labels[to] = -1;
  args.location_indices[to] = -1;
}

// Lower bounds of the logit and the probability of any candidate, with a margin for the rounding of any sigmoid. They are
// cheap to compare first.
struct Bars {
  float logit, class_score, product;
};

// `least_score` is a bound of the score in addition to the thresholds.
static inline Bars bars_of(const Args& args, float least_score) {
  const auto with_room = [](float bar) { return bar < 1e-30f ? 0.0f : bar * (1 - 1e-4f); };
  const float threshold = with_room(args.product_threshold);
  Bars bars{0, args.threshold_with_centerness ? 0 : threshold, with_room(least_score * least_score)};
  if (args.threshold_with_centerness && threshold > bars.product) {
    bars.product = threshold;
  }
  // because the probability of centre-ness is at most 1
  const double least = bars.product > bars.class_score ? bars.product : bars.class_score;
  bars.logit = static_cast<float>(std::log(least / (1 - least)) - 1e-3);
  return bars;
}

}  // namespace condinst::decode_detections
