// What the CPU and the CUDA kernels of nms share. All functions are static: see simd.h.
#pragma once

#include "../suppression/suppression.h"

namespace condinst::nms {

struct Args {
  const float* boxes;   // [num_candidates, 4] (x1, y1, x2, y2)
  float iou_threshold;  // the largest float32 that is not above the threshold asked for
};

// IoU = overlap / (area + area - overlap), as torchvision rounds it: no operation may be fused with another, see
// CMakeLists.txt. A box with NaN has an area of NaN, one that is inverted overlaps nothing.
template <class Float>
static inline CONDINST_HOST_DEVICE Float iou(Float overlap, Float area, Float other_area) {
  return overlap / (area + other_area - overlap);
}

}  // namespace condinst::nms
