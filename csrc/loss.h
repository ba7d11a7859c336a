// What the losses over many elements share: the results they write, and how their kernels are run.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <tuple>

#include "../kernels/common/loss.h"
#include "cuda.h"

namespace condinst {

// What a forward call gives back, and the scratch memory of its kernel. Outlives the LossResults made of it.
struct LossTensors {
  torch::stable::Tensor loss, grad, partial;

  std::tuple<torch::stable::Tensor, torch::stable::Tensor> outputs() const { return {loss, grad}; }
};

inline torch::headeronly::ScalarType loss_type(bool wide) {
  return wide ? torch::headeronly::ScalarType::Double : torch::headeronly::ScalarType::Float;
}

// Allocates what a forward call wants and enters it into `results`: the sum [] or the losses of `shape`, in `type`; and
// the gradient, shaped as the (contiguous) argument, or an empty tensor without it.
inline LossTensors new_results(const torch::stable::Tensor& argument, torch::headeronly::IntHeaderOnlyArrayRef shape,
                               torch::headeronly::ScalarType type, bool reduce, bool with_grad, LossResults& results) {
  using torch::stable::new_empty;
  const torch::headeronly::IntHeaderOnlyArrayRef scalar;
  const int64_t partial_size = reduce ? task_count(results) : 0;
  const LossTensors tensors{new_empty(argument, reduce ? scalar : shape, type),
                            with_grad ? torch::stable::empty_like(argument) : new_empty(argument, {0}),
                            new_empty(argument, {partial_size}, torch::headeronly::ScalarType::Double)};
  if (reduce) {
    results.partial = static_cast<double*>(tensors.partial.mutable_data_ptr());
    results.sum = tensors.loss.mutable_data_ptr();
  } else {
    results.losses = tensors.loss.mutable_data_ptr();
  }
  results.grad = with_grad ? tensors.grad.mutable_data_ptr() : nullptr;
  return tensors;
}

// Enters what a backward call wants into `results`. Both tensors must be contiguous and outlive it.
inline void set_gradient(const torch::stable::Tensor& argument, torch::headeronly::IntHeaderOnlyArrayRef shape,
                         torch::headeronly::ScalarType type, const torch::stable::Tensor& grad_loss,
                         const torch::stable::Tensor& grad, LossResults& results) {
  const bool one = grad_loss.dim() == 0;
  bool fits = one || grad_loss.dim() == static_cast<int64_t>(shape.size());
  for (int64_t dim = 0; fits && !one && dim < grad_loss.dim(); ++dim) {
    fits = grad_loss.size(dim) == shape[dim];
  }
  STD_TORCH_CHECK(fits && grad_loss.scalar_type() == type && same_device(grad_loss, argument),
                  "grad_loss: expected the shape, dtype and device of the loss");
  results.grad_loss = grad_loss.const_data_ptr();
  results.one_grad_loss = one;
  results.grad = grad.mutable_data_ptr();
}

// Runs `on_cpu(begin, end)` over all tasks and adds up the chunks.
template <class Kernel>
void run_on_cpu(const LossResults& results, bool wide, const Kernel& on_cpu) {
  const int64_t tasks = task_count(results);
  torch::stable::parallel_for(0, tasks, 1, on_cpu);
  if (results.sum == nullptr) {
    return;
  }
  double sum = 0;
  for (int64_t task = 0; task < tasks; ++task) {
    sum += results.partial[task];
  }
  if (wide) {
    *static_cast<double*>(results.sum) = sum;
  } else {
    *static_cast<float*>(results.sum) = static_cast<float>(sum);
  }
}

}  // namespace condinst
