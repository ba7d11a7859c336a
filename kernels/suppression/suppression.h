// Suppression of duplicates, except the test of a pair, on CPU and CUDA: the groups, the order, and the best of each image.
// All functions are static: see simd.h.
#pragma once

#include <cstdint>

#include "../common/falling.h"
#include "../common/host_device.h"

namespace condinst::suppression {

// All arrays are contiguous.
struct Args {
  const float* scores;           // [num_candidates]; NaN is not a candidate
  const int64_t* labels;         // [num_candidates]
  const int64_t* image_indices;  // [num_candidates], -1 for padding
  int64_t num_candidates;        // below 2^31
  int64_t num_images;
  int64_t max_detections;        // of an image, plus ties with the last; 0 for all
  int64_t capacity;              // columns of `indices`
  int64_t* indices;              // [num_images, capacity] out, -1 after the last
  int64_t* counts;               // [num_images] out
};

static inline CONDINST_HOST_DEVICE bool is_candidate(const Args& args, int64_t index) {
  const float score = args.scores[index];
  const int64_t image = args.image_indices[index];
  return score == score && image >= 0 && image < args.num_images;
}

// Whether the detection at place `rank` of an image, by falling score, is kept. `last` is the score at max_detections - 1.
static inline CONDINST_HOST_DEVICE bool is_among_best(const Args& args, int64_t rank, float score, float last) {
  return rank < args.capacity && (args.max_detections == 0 || rank < args.max_detections || score == last);
}

}  // namespace condinst::suppression
