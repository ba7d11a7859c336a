// The formulas of the dice loss, for dice_loss and dynamic_mask_loss on the CPU and on CUDA. With masks m and targets t,
// overlap = sum(m * t) and total = sum(m^2) + sum(t^2) + eps.
#pragma once

#include "host_device.h"

namespace condinst::dice {

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

}  // namespace condinst::dice
