// Code that the kernels of losses over many elements share: the results, and the division into tasks. One pass computes the
// losses or their sum, their gradient, or both. All functions are static: see simd.h.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace condinst {

// "Acc" is the type of the computation. Null results are not computed.
struct LossResults {
  int64_t count;          // of losses
  int64_t chunk;          // losses per task
  void* losses;           // [count] Acc, out
  double* partial;        // [task_count] scratch: the sum of each chunk; with sum
  void* sum;              // [] Acc, out
  void* grad;             // of the type of the argument, out
  const void* grad_loss;  // Acc, in: the factor of each gradient; null for 1
  bool one_grad_loss;     // grad_loss is [] and not [count]
};

// Partial sums of fixed chunks are added in a fixed order, so neither threads nor multiprocessors change the result.
static inline CONDINST_HOST_DEVICE int64_t task_count(const LossResults& results) {
  return (results.count + results.chunk - 1) / results.chunk;
}

// The losses of a task: `size` losses from `first` on.
struct LossChunk {
  int64_t first, size;
};

static inline CONDINST_HOST_DEVICE LossChunk chunk_of(const LossResults& results, int64_t task) {
  const int64_t first = task * results.chunk;
  const int64_t rest = results.count - first;
  return {first, rest < results.chunk ? rest : results.chunk};
}

// The factor of the gradient of one loss.
template <class Acc>
static inline CONDINST_HOST_DEVICE Acc factor_of(const LossResults& results, int64_t index) {
  if (results.grad_loss == nullptr) {
    return 1;
  }
  return static_cast<const Acc*>(results.grad_loss)[results.one_grad_loss ? 0 : index];
}

template <class T>
struct LossAndGradient {
  T loss, grad;
};

}  // namespace condinst
