// The arguments that the CPU and the CUDA kernels of mask_nms share.
#pragma once

#include "../mask_pairs/mask_pairs.h"

namespace condinst::mask_nms {

struct Args {
  mask_pairs::Masks masks;  // summaries are scratch [count]
  float iou_threshold;      // at least 0
};

}  // namespace condinst::mask_nms
