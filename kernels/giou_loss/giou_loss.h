// Code that the CPU and the CUDA kernels of giou_loss share: their arguments and the formulas. All functions are static:
// see simd.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../common/element_type.h"
#include "../common/host_device.h"
#include "../common/loss.h"

namespace condinst::giou_loss {

// All arrays are contiguous. "Acc" is double when predicted or targets are float64 (`wide`), otherwise float.
struct Args {
  const void* predicted;      // [count, 4] of predicted_type: l, t, r, b
  ElementType predicted_type;
  bool wide;
  bool smooth;
  const void* targets;        // [count, 4] Acc
  const void* weights;        // [count] Acc, or null for 1
  LossResults results;        // one loss per box
};

// Calls f with a value of the type of `predicted` and one of Acc.
template <class F>
static inline void with_types(const Args& args, const F& f) {
  with_element_type(args.predicted_type, [&](auto predicted) {
    with_element_type(args.wide ? ElementType::float64 : ElementType::float32, [&](auto acc) {
      using T = decltype(predicted);
      using Acc = decltype(acc);
      constexpr bool fits = std::is_same_v<Acc, double> || (std::is_same_v<Acc, float> && !std::is_same_v<T, double>);
      if constexpr (fits && !std::is_same_v<T, uint8_t>) {
        f(predicted, acc);
      }
    });
  });
}

// The area of a box with the distances l, t, r, b.
template <class T>
static inline CONDINST_HOST_DEVICE T area(const T (&box)[4]) {
  return (box[0] + box[2]) * (box[1] + box[3]);
}

// The loss of one pair of boxes, and its gradient with respect to `predicted`. With the areas I of the intersection,
// G of the hull, U = area(predicted) + area(targets) - I, and s = 1 if smooth, otherwise 0:
//
//   loss = 1 - ((I + s) / (U + s) - (G - U) / G)
//
// For equal sides, minimum and maximum give each of them half of the gradient, as in PyTorch.
template <class T>
static inline CONDINST_HOST_DEVICE T giou(const T (&predicted)[4], const T (&targets)[4], bool smooth, T (&grad)[4]) {
  T inner[4], outer[4], share[4];
  for (int side = 0; side < 4; ++side) {
    const T p = predicted[side];
    const T t = targets[side];
    inner[side] = p > t ? t : p;
    outer[side] = p > t ? p : t;
    // of p in the minimum; for NaN it does not matter, because the rest is NaN
    share[side] = p == t ? T(0.5) : p < t ? T(1) : T(0);
  }
  const T s = smooth ? 1 : 0;
  const T intersection = area(inner);
  const T hull = area(outer);
  const T total = area(predicted) + area(targets) - intersection;
  const T iou = (intersection + s) / (total + s);

  const T by_total = iou / (total + s) - 1 / hull;
  const T by_intersection = -1 / (total + s) - by_total;
  const T by_hull = total / (hull * hull);
  for (int side = 0; side < 4; ++side) {
    // The derivative of the area is the other extent: t + b for l and r, l + r for t and b.
    const int one = side % 2 == 0 ? 1 : 0;
    grad[side] = by_total * (predicted[one] + predicted[one + 2]) +
                 by_intersection * share[side] * (inner[one] + inner[one + 2]) +
                 by_hull * (1 - share[side]) * (outer[one] + outer[one + 2]);
  }
  return 1 - (iou - (hull - total) / hull);
}

}  // namespace condinst::giou_loss
