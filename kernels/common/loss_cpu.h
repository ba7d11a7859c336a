// Computes a chunk of a loss per element in vectors, and the sum over the chunks.
#pragma once

#include "loss.h"
#include "simd.h"

namespace condinst {
namespace CONDINST_ISA {
namespace {

// `loss_of(index, inside, x)` returns the losses and gradients (LossAndGradient of Vector<Acc>) of the elements from
// `index` on, of which `inside` exist; the results of the other lanes are not used.
template <class Acc, class T, class LossOf>
static inline void chunk_of_losses(const LossResults& results, const T* x, int64_t task, const LossOf& loss_of) {
  constexpr int lanes = kLanes<Acc>;
  const LossChunk chunk = chunk_of(results, task);
  Acc* losses = static_cast<Acc*>(results.losses);
  T* grad = static_cast<T*>(results.grad);
  const Acc* factors = results.one_grad_loss ? nullptr : static_cast<const Acc*>(results.grad_loss);
  const Vector<Acc> factor = Vector<Acc>{} + (factors == nullptr ? factor_of<Acc>(results, 0) : Acc(1));
  Vector<Acc> sum = {};

  const int64_t end = chunk.first + chunk.size;
  int64_t i = chunk.first;
  for (; i + lanes <= end; i += lanes) {
    const LossAndGradient<Vector<Acc>> values = loss_of(i, lanes, load<Acc>(x + i));
    sum += values.loss;
    if (losses != nullptr) {
      store<Acc, Acc>(losses + i, values.loss);
    }
    if (grad != nullptr) {
      store<T, Acc>(grad + i, values.grad * (factors == nullptr ? factor : load<Acc>(factors + i)));
    }
  }
  if (i < end) {
    const int rest = static_cast<int>(end - i);
    const LossAndGradient<Vector<Acc>> values = loss_of(i, rest, load_first<Acc>(x + i, rest));
    for (int lane = 0; lane < rest; ++lane) {
      sum[lane] += values.loss[lane];
    }
    if (losses != nullptr) {
      store_first<Acc, Acc>(losses + i, values.loss, rest);
    }
    if (grad != nullptr) {
      const Vector<Acc> scale = factors == nullptr ? factor : load_first<Acc>(factors + i, rest);
      store_first<T, Acc>(grad + i, values.grad * scale, rest);
    }
  }
  if (results.sum != nullptr) {
    results.partial[task] = sum_of_lanes<Acc>(sum);
  }
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst
