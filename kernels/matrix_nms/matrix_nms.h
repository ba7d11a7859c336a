// Code that the CPU and the CUDA kernels of matrix_nms share. All functions are static: see simd.h.
//
// In the order of ../suppression, candidate j needs its IoU with each better candidate i of its group, and the highest IoU
// of i. A pass computes the IoUs of a range of columns j, keeps them, and stores the highest of each column. Then every i <
// j has its highest IoU, and the factors follow. So no pair is counted twice, and the memory does not grow with the square
// of the number of candidates.
#pragma once

#include <cmath>
#include <cstdint>

#include "../mask_pairs/mask_pairs.h"

namespace condinst::matrix_nms {

struct Args {
  mask_pairs::Masks masks;  // summaries are scratch [count]
  const float* scores;      // [count]
  bool gaussian;
  float sigma;              // of the Gaussian
  float* decayed;           // [count] out, 0 before
};

// Columns [begin, end), as places in sorted order. Scratch.
struct Pass {
  int64_t begin, end;
  float* ious;     // [end - begin, stride]: of a column with the better candidates of its group, in order
  int64_t stride;
  float* highest;  // [count] by place: the highest IoU with a better candidate, 0 for the best of a group
};

// The IoU, 0 for two empty masks.
static inline CONDINST_HOST_DEVICE float iou_or_zero(int64_t intersection, const mask_pairs::Summary& one,
                                                     const mask_pairs::Summary& other) {
  return intersection == 0 ? 0.0f : mask_pairs::iou(intersection, one, other);
}

// The part of f(iou) / f(highest) that is minimised, so that the Gaussian takes one exponential per candidate: its exponent
// over sigma, or for "linear" the quotient itself.
static inline CONDINST_HOST_DEVICE float decay(const Args& args, float iou, float highest) {
  if (args.gaussian) {
    return (highest - iou) * (highest + iou);
  }
  return highest < 1 ? (1 - iou) / (1 - highest) : 1.0f;  // a duplicate gets a score of 0 and lowers no other score
}

// The decay of a candidate whose score does not change.
static inline CONDINST_HOST_DEVICE float no_decay(const Args& args) { return args.gaussian ? 0.0f : 1.0f; }

// The factor of the score, from the least decay.
static inline CONDINST_HOST_DEVICE float factor(const Args& args, float least) {
  return args.gaussian ? expf(args.sigma * least) : least;
}

}  // namespace condinst::matrix_nms
