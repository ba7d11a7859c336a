// What the CPU and the CUDA kernels of centerness_loss share: their arguments.
#pragma once

#include "../common/element_type.h"
#include "../common/loss.h"

namespace condinst::centerness_loss {

// All arrays are contiguous. "Acc" is double for float64 logits, otherwise float.
struct Args {
  const void* logits;      // [count] of logit_type
  ElementType logit_type;
  const void* targets;     // [count] Acc
  LossResults results;     // one loss per logit
};

}  // namespace condinst::centerness_loss
