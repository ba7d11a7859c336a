// Code that giou_loss, sigmoid_focal_loss and centerness_loss share: their results, and the calls of their kernels. One
// pass of a kernel computes the losses or their sum, their gradient, or both.
//
// Each operator has a class `Loss`, which checks the operator's arguments and keeps them alive. It has
//   kDims                        the losses have the shape of the first kDims dimensions of `argument`
//   argument                     the tensor that gets a gradient, dense
//   type                         the dtype of the losses
//   args                         the arguments of the kernels, except the results
//   on_cpu(args, begin, end)     runs tasks [begin, end) of the CPU kernel
//   on_cuda(args, stream)        launches the CUDA kernel
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <tuple>

#include "../kernels/common/loss.h"
#include "cuda.h"
#include "dense.h"

namespace condinst::one_pass_loss {

using torch::headeronly::IntHeaderOnlyArrayRef;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The results of a forward call, and the scratch memory of its kernel. It must outlive the LossResults that point to it.
struct LossTensors {
  Tensor loss, grad, partial;

  std::tuple<Tensor, Tensor> outputs() const { return {loss, grad}; }
};

inline ScalarType loss_type(bool wide) { return wide ? ScalarType::Double : ScalarType::Float; }

// Allocates the requested results of a forward call and enters them into `results`: the sum [] or the losses of `shape`, in
// `type`; and the gradient with the shape of the (contiguous) argument, or an empty tensor.
inline LossTensors new_results(const Tensor& argument, IntHeaderOnlyArrayRef shape, ScalarType type, bool reduce,
                               bool with_grad, LossResults& results) {
  using torch::stable::new_empty;
  const IntHeaderOnlyArrayRef scalar;
  const int64_t partial_size = reduce ? task_count(results) : 0;
  const LossTensors tensors{new_empty(argument, reduce ? scalar : shape, type),
                            with_grad ? torch::stable::empty_like(argument) : new_empty(argument, {0}),
                            new_empty(argument, {partial_size}, ScalarType::Double)};
  if (reduce) {
    results.partial = static_cast<double*>(tensors.partial.mutable_data_ptr());
    results.sum = tensors.loss.mutable_data_ptr();
  } else {
    results.losses = tensors.loss.mutable_data_ptr();
  }
  results.grad = with_grad ? tensors.grad.mutable_data_ptr() : nullptr;
  return tensors;
}

// Enters the gradients of a backward call into `results`. Both tensors must be contiguous and outlive it.
inline void set_gradient(const Tensor& argument, IntHeaderOnlyArrayRef shape, ScalarType type,
                         const Tensor& grad_loss, const Tensor& grad, LossResults& results) {
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

// Adds up the chunks on the CPU.
inline void add_chunks(const LossResults& results, ScalarType type) {
  double sum = 0;
  for (int64_t task = 0; task < task_count(results); ++task) {
    sum += results.partial[task];
  }
  if (type == ScalarType::Double) {
    *static_cast<double*>(results.sum) = sum;
  } else {
    *static_cast<float*>(results.sum) = static_cast<float>(sum);
  }
}

template <class Loss>
void run(const Loss& loss) {
  const auto& args = loss.args;
  if constexpr (kWithCuda) {
    if (on_cuda(loss.argument)) {
      return on_current_stream(loss.argument, [&](void* stream) { Loss::on_cuda(args, stream); });
    }
  }
  torch::stable::parallel_for(0, task_count(args.results), 1,
                              [&](int64_t begin, int64_t end) { Loss::on_cpu(args, begin, end); });
  if (args.results.sum != nullptr) {
    add_chunks(args.results, loss.type);
  }
}

// -> loss [] or one loss per element, gradient of the sum of the losses with the shape of the argument, or [0]
template <class Loss>
std::tuple<Tensor, Tensor> forward(Loss&& loss, bool reduce, bool with_grad) {
  const auto shape = loss.argument.sizes().slice(0, loss.kDims);
  const LossTensors tensors = new_results(loss.argument, shape, loss.type, reduce, with_grad, loss.args.results);
  run(loss);
  return tensors.outputs();
}

// grad_loss [] or one number per element -> gradient of the argument
template <class Loss>
Tensor backward(Loss&& loss, const Tensor& grad_loss) {
  const Tensor dense_grad_loss = dense(grad_loss);
  const Tensor grad = torch::stable::empty_like(loss.argument);
  const auto shape = loss.argument.sizes().slice(0, loss.kDims);
  set_gradient(loss.argument, shape, loss.type, dense_grad_loss, grad, loss.args.results);
  run(loss);
  return grad;
}

}  // namespace condinst::one_pass_loss
