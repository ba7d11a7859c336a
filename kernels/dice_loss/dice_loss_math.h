// The formulas of dice_loss, shared by the CPU and the CUDA kernels.
#pragma once

#include "../common/host_device.h"

namespace condinst::dice_loss {

// loss = 1 - 2 * overlap / total, where overlap = sum(m * t) and total = sum(m^2) + sum(t^2) + eps
template <class T>
static inline CONDINST_HOST_DEVICE T loss(T overlap, T total) {
  return 1 - 2 * overlap / total;
}

// d loss / d m_i = scale * (ratio * m_i - t_i)
template <class T>
struct Gradient {
  T scale;
  T ratio;
};

template <class T>
static inline CONDINST_HOST_DEVICE Gradient<T> gradient(T grad_loss, T overlap, T total) {
  return {2 * grad_loss / total, 2 * overlap / total};
}

}  // namespace condinst::dice_loss
