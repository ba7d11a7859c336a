// The arguments of the kernels of panoptic_merge, and the rules that both devices share.
//
// Results must have the bits of the reference, for any input. So the sums of masks_to_image are computed without fused
// operations (CMakeLists.txt), rows before columns, three cells in order. A pixel is only skipped if its result is certain
// by more than any rounding.
#pragma once

#include <cstdint>

#include "../common/element_type.h"
#include "../common/host_device.h"
#include "../resampling/resampling.h"

namespace condinst::panoptic_merge {

using resampling::Axis;
using resampling::kTaps;

// The axes from the cells of both maps to the pixels of an image.
struct Image {
  Axis mask_rows, mask_columns;
  Axis semantic_rows, semantic_columns;
};

// All arrays are contiguous. A row of bits has `words` words, pixel x is bit x % 64 of word x / 64.
struct Args {
  const void* mask_logits;         // [num_instances, mask cells] of mask_type
  ElementType mask_type;           // float16, bfloat16 or float32
  const float* scores;             // [num_instances]
  const int64_t* image_indices;    // [num_instances]
  int64_t num_instances;
  const void* semantic_logits;     // [num_images, num_channels, semantic cells] of semantic_type
  ElementType semantic_type;       // float16, bfloat16 or float32
  const Image* images;             // [num_images]
  int64_t num_images, num_channels, num_things;
  int64_t mask_height, mask_width;          // cells
  int64_t semantic_height, semantic_width;  // cells
  int64_t height, width, words;    // of ids and of bits
  float score_threshold;
  float mask_threshold;            // of probabilities
  double overlap_threshold;
  int64_t stuff_area_limit;
  uint64_t* bits;                  // [num_instances, height, words] masks, later their remaining pixels
  uint64_t* taken;                 // [num_images, height, words] pixels of the instances kept
  int32_t* ids;                    // [num_images, height, width]
  int64_t* instance_areas;         // [num_instances]
  int64_t* stuff_areas;            // [num_images, num_channels - num_things]
};

constexpr int32_t kUnsure = -1;  // a cell or pixel whose class must be computed

static inline CONDINST_HOST_DEVICE uint64_t* bits_of(const Args& args, int64_t instance, int64_t row) {
  return args.bits + (instance * args.height + row) * args.words;
}

static inline CONDINST_HOST_DEVICE uint64_t* taken_of(const Args& args, int64_t image, int64_t row) {
  return args.taken + (image * args.height + row) * args.words;
}

// Whether an instance is a candidate. A score of NaN is not.
static inline CONDINST_HOST_DEVICE bool is_candidate(const Args& args, int64_t instance) {
  const int64_t image = args.image_indices[instance];
  return image >= 0 && image < args.num_images && args.scores[instance] >= args.score_threshold;
}

// Whether `one` comes before `other`; both are candidates of the same image.
static inline CONDINST_HOST_DEVICE bool comes_before(const Args& args, int64_t one, int64_t other) {
  const float first = args.scores[one];
  const float second = args.scores[other];
  return first > second || (first == second && one < other);
}

static inline CONDINST_HOST_DEVICE bool is_kept(const Args& args, int64_t area, int64_t lost) {
  return area > 0 && static_cast<double>(lost) / static_cast<double>(area) <= args.overlap_threshold;
}

// 0, void, for things and for kUnsure.
static inline CONDINST_HOST_DEVICE int32_t id_of_channel(const Args& args, int32_t channel) {
  return channel < args.num_things ? 0 : static_cast<int32_t>(1 + args.num_instances + channel - args.num_things);
}

constexpr float kMostLogit = 1e30f;  // larger values are clamped to this

static inline CONDINST_HOST_DEVICE float semantic_logit(float logit) {
  if (!(logit > -kMostLogit)) {  // also for NaN
    return -kMostLogit;
  }
  return logit < kMostLogit ? logit : kMostLogit;
}

// The class of a cell, if it leads by so much that it also wins each pixel whose cells it leads in. The error of a sum of 3
// x 3 products is less than 7 roundings of 2^-24 of the sum of magnitudes, and two channels are compared. The bound holds
// for each cell, so it holds for their weighted sum.
static inline CONDINST_HOST_DEVICE bool leads(float best, float second, float largest_magnitude) {
  return best - second > 2e-6f * largest_magnitude + 1e-30f;
}

}  // namespace condinst::panoptic_merge
