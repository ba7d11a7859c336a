// Code that the CPU and the CUDA kernels of centerness_loss share: their arguments and the formulas, in which T is a number
// or a vector of numbers.
#pragma once

#include "../common/element_type.h"
#include "../common/host_device.h"
#include "../common/logistic.h"
#include "../common/loss.h"

namespace condinst::centerness_loss {

// All arrays are contiguous. "Acc" is double for float64 logits, otherwise float.
struct Args {
  const void* logits;      // [count] of logit_type
  ElementType logit_type;
  const void* targets;     // [count] Acc
  LossResults results;     // one loss per logit
};

// loss = y * log(1 + e^-x) + (1 - y) * log(1 + e^x), whose gradient is p - y. If y is 0 or 1, neither is a difference of
// nearly equal numbers. `above` is max(x, 0), `below` max(-x, 0).
template <class T>
static inline CONDINST_HOST_DEVICE LossAndGradient<T> cross_entropy(T above, T below, const Logistic<T>& p, T y) {
  return {y * below + (1 - y) * above + p.tail, (1 - y) * p.sigmoid - y * p.complement};
}

}  // namespace condinst::centerness_loss
