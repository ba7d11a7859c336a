// giou_loss: schemas, checks, allocation, dispatch. condinst/ops/giou_loss checks what users give; these checks are the
// second fence, for callers of torch.ops.condinst.
#include "../kernels/giou_loss/giou_loss_cpu.h"
#include "../kernels/giou_loss/giou_loss_cuda.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <tuple>

#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "loss.h"

namespace condinst::giou_loss {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// targets have the dtype of the loss
bool is_wide(const Tensor& targets) { return targets.scalar_type() == ScalarType::Double; }

void check_inputs(const Tensor& predicted, const Tensor& targets, const std::optional<Tensor>& weights) {
  STD_TORCH_CHECK(predicted.dim() == 2 && predicted.size(1) == 4 && element_type(predicted) != ElementType::uint8,
                  "predicted: expected [N, 4] of a floating dtype");
  STD_TORCH_CHECK(targets.dim() == 2 && targets.size(0) == predicted.size(0) && targets.size(1) == 4,
                  "targets: expected [N, 4]");
  STD_TORCH_CHECK(targets.scalar_type() == loss_type(is_wide(targets)) &&
                      (is_wide(targets) || predicted.scalar_type() != ScalarType::Double),
                  "targets: expected the dtype of the loss, float64 if predicted is and otherwise float32 or float64");
  STD_TORCH_CHECK(same_device(predicted, targets), "targets: expected the device of predicted");
  if (weights.has_value()) {
    STD_TORCH_CHECK(weights->dim() == 1 && weights->size(0) == predicted.size(0) &&
                        weights->scalar_type() == targets.scalar_type() && same_device(*weights, predicted),
                    "weights: expected [N] of the dtype and the device of targets");
  }
}

// Without results. All tensors must be contiguous and outlive the arguments.
Args make_args(const Tensor& predicted, const Tensor& targets, const std::optional<Tensor>& weights, bool smooth) {
  Args args{};
  args.predicted = predicted.const_data_ptr();
  args.predicted_type = element_type(predicted);
  args.wide = is_wide(targets);
  args.smooth = smooth;
  args.targets = targets.const_data_ptr();
  args.weights = weights.has_value() ? weights->const_data_ptr() : nullptr;
  args.results.count = predicted.size(0);
  args.results.chunk = on_cuda(predicted) ? cuda::kChunk : kCpuChunk;
  return args;
}

void run(const Tensor& predicted, const Args& args) {
  if constexpr (kWithCuda) {
    if (on_cuda(predicted)) {
      return on_current_stream(predicted, [&](void* stream) { cuda::losses(args, stream); });
    }
  }
  const auto losses = CONDINST_CPU_KERNEL(losses);
  run_on_cpu(args.results, args.wide, [&](int64_t begin, int64_t end) { losses(args, begin, end); });
}

// predicted [N, 4], targets [N, 4], weights [N] -> loss [] or [N], gradient of the sum of the losses [N, 4] or [0]
std::tuple<Tensor, Tensor> forward(const Tensor& predicted, const Tensor& targets, const std::optional<Tensor>& weights,
                                   bool smooth, bool reduce, bool with_grad) {
  check_inputs(predicted, targets, weights);
  const Tensor dense_predicted = dense(predicted);
  const Tensor dense_targets = dense(targets);
  const std::optional<Tensor> dense_weights = dense(weights);
  Args args = make_args(dense_predicted, dense_targets, dense_weights, smooth);
  const LossTensors tensors = new_results(dense_predicted, {predicted.size(0)}, loss_type(args.wide), reduce,
                                          with_grad, args.results);
  run(predicted, args);
  return tensors.outputs();
}

// grad_loss [] or [N], predicted [N, 4], targets [N, 4], weights [N] -> gradient of predicted [N, 4]
Tensor backward(const Tensor& grad_loss, const Tensor& predicted, const Tensor& targets,
                const std::optional<Tensor>& weights, bool smooth) {
  check_inputs(predicted, targets, weights);
  const Tensor dense_predicted = dense(predicted);
  const Tensor dense_targets = dense(targets);
  const std::optional<Tensor> dense_weights = dense(weights);
  const Tensor dense_grad_loss = dense(grad_loss);
  const Tensor grad = torch::stable::empty_like(dense_predicted);
  Args args = make_args(dense_predicted, dense_targets, dense_weights, smooth);
  set_gradient(predicted, {predicted.size(0)}, loss_type(args.wide), dense_grad_loss, grad, args.results);
  run(predicted, args);
  return grad;
}

}  // namespace
}  // namespace condinst::giou_loss

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "giou_loss(Tensor predicted, Tensor targets, Tensor? weights, bool smooth, bool reduce, bool with_grad) "
      "-> (Tensor loss, Tensor grad)");
  m.def(
      "giou_loss_backward(Tensor grad_loss, Tensor predicted, Tensor targets, Tensor? weights, bool smooth) "
      "-> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(condinst, CPU, m) {
  m.impl("giou_loss", TORCH_BOX(&condinst::giou_loss::forward));
  m.impl("giou_loss_backward", TORCH_BOX(&condinst::giou_loss::backward));
}

#if defined(CONDINST_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(condinst, CUDA, m) {
  m.impl("giou_loss", TORCH_BOX(&condinst::giou_loss::forward));
  m.impl("giou_loss_backward", TORCH_BOX(&condinst::giou_loss::backward));
}
#endif
