// Code that the CPU and the CUDA kernels of nms share. All functions are static: see simd.h.
#pragma once

#include "../suppression/suppression.h"

namespace condinst::nms {

struct Args {
  const float* boxes;   // [num_candidates, 4] (x1, y1, x2, y2)
  float iou_threshold;  // the largest float32 that is not above the requested threshold
};

// IoU = overlap / (area + area - overlap), rounded as in torchvision: operations must not be fused, see CMakeLists.txt. A
// box with NaN has an area of NaN, and an inverted box overlaps no other.
template <class Float>
static inline CONDINST_HOST_DEVICE Float iou(Float overlap, Float area, Float other_area) {
  return overlap / (area + other_area - overlap);
}

}  // namespace condinst::nms
