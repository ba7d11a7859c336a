// The formulas of centerness_loss, shared by the CPU and the CUDA kernels: T is a number or a vector of numbers.
#pragma once

#include "../common/host_device.h"
#include "../common/logistic.h"
#include "../common/loss.h"

namespace condinst::centerness_loss {

// loss = y * log(1 + e^-x) + (1 - y) * log(1 + e^x), whose gradient is p - y; neither has a difference of nearly equal
// numbers where y is 0 or 1. `above` is max(x, 0), `below` max(-x, 0).
template <class T>
static inline CONDINST_HOST_DEVICE LossAndGradient<T> cross_entropy(T above, T below, const Logistic<T>& p, T y) {
  return {y * below + (1 - y) * above + p.tail, (1 - y) * p.sigmoid - y * p.complement};
}

}  // namespace condinst::centerness_loss
