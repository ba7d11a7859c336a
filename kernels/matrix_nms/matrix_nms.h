// What the CPU and the CUDA kernels of matrix_nms share. All functions are static: see simd.h.
//
// In the order of ../suppression, candidate j needs its IoU with each better one i of its group, and the highest IoU of
// i. A pass takes the IoUs of some columns j once, keeps them, and has the highest of each; then every i < j has one,
// and the factors follow. So no pair is counted twice, and the memory does not grow with the square of the candidates.
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
  float* ious;     // [end - begin, stride]: of a column, with the better candidates of its group in their order
  int64_t stride;
  float* highest;  // [count] by place: a candidate's highest IoU with a better one, 0 for the best of its group
};

// The IoU, 0 for two empty masks.
static inline CONDINST_HOST_DEVICE float iou_or_zero(int64_t intersection, const mask_pairs::Summary& one,
                                                     const mask_pairs::Summary& other) {
  return intersection == 0 ? 0.0f : mask_pairs::iou(intersection, one, other);
}

// Of f(iou) / f(highest) what has to be least, so that the Gaussian takes one exponential per candidate: its exponent
// over sigma, or the quotient itself.
static inline CONDINST_HOST_DEVICE float decay(const Args& args, float iou, float highest) {
  if (args.gaussian) {
    return (highest - iou) * (highest + iou);
  }
  return highest < 1 ? (1 - iou) / (1 - highest) : 1.0f;  // a duplicate, whose own score becomes 0, lowers no other
}

// The decay of a candidate that nothing lowers.
static inline CONDINST_HOST_DEVICE float no_decay(const Args& args) { return args.gaussian ? 0.0f : 1.0f; }

// What the score is multiplied by, from the least decay.
static inline CONDINST_HOST_DEVICE float factor(const Args& args, float least) {
  return args.gaussian ? expf(args.sigma * least) : least;
}

}  // namespace condinst::matrix_nms
