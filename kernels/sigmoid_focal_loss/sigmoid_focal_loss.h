// What the CPU and the CUDA kernels of sigmoid_focal_loss share: their arguments.
#pragma once

#include <cstdint>

#include "../common/element_type.h"
#include "../common/loss.h"

namespace condinst::sigmoid_focal_loss {

// All arrays are contiguous. "Acc" is double for float64 logits, otherwise float.
struct Args {
  const void* logits;     // [rows, num_classes] of logit_type
  ElementType logit_type;
  const int64_t* labels;  // [rows]; a number outside of 0 .. num_classes - 1 is no class
  int64_t num_classes;    // at most kMostClasses
  double alpha, gamma;
  LossResults results;    // one loss per logit
};

// With 31 bits, a GPU divides a place within a chunk by the number of classes in 32.
constexpr int64_t kMostClasses = 0x7fffffff;

}  // namespace condinst::sigmoid_focal_loss
