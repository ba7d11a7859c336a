// dice_loss: schemas, checks, allocation, dispatch. condinst/ops/dice_loss.py checks what users give; these checks are
// the second fence, for callers of torch.ops.condinst.
#include "../kernels/dice_loss/dice_loss_cpu.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <tuple>
#include <vector>

#include "element_type.h"

namespace condinst::dice_loss {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check_inputs(const Tensor& masks, const Tensor& targets) {
  STD_TORCH_CHECK(masks.dim() >= 1, "masks: expected [K, ...], got a scalar");
  STD_TORCH_CHECK(masks.dim() == targets.dim(), "targets: expected the shape of masks");
  for (int64_t dim = 0; dim < masks.dim(); ++dim) {
    STD_TORCH_CHECK(masks.size(dim) == targets.size(dim), "targets: expected the shape of masks");
  }
  STD_TORCH_CHECK(element_type(masks) != ElementType::uint8, "masks: expected a floating dtype");
  STD_TORCH_CHECK(masks.is_cpu() && targets.is_cpu(), "masks, targets: expected CPU tensors");
}

ScalarType accumulator_type(const Tensor& masks, const Tensor& targets) {
  const bool wide = masks.scalar_type() == ScalarType::Double || targets.scalar_type() == ScalarType::Double;
  return wide ? ScalarType::Double : ScalarType::Float;
}

// The fields that forward and backward share. Both tensors must be contiguous and outlive the result.
Args make_args(const Tensor& masks, const Tensor& targets) {
  Args args{};
  args.masks = masks.const_data_ptr();
  args.targets = targets.const_data_ptr();
  args.mask_type = element_type(masks);
  args.target_type = element_type(targets);
  args.wide = accumulator_type(masks, targets) == ScalarType::Double;
  args.count = masks.size(0);
  args.size = args.count == 0 ? 0 : masks.numel() / args.count;
  return args;
}

// masks [K, ...], targets [K, ...] -> losses [K], sums [K, 2]
std::tuple<Tensor, Tensor> forward_cpu(const Tensor& masks, const Tensor& targets, double eps) {
  check_inputs(masks, targets);
  const Tensor dense_masks = torch::stable::contiguous(masks);
  const Tensor dense_targets = torch::stable::contiguous(targets);
  const ScalarType type = accumulator_type(masks, targets);
  const Tensor losses = torch::stable::new_empty(masks, {masks.size(0)}, type);
  const Tensor sums = torch::stable::new_empty(masks, {masks.size(0), 2}, type);

  Args args = make_args(dense_masks, dense_targets);
  std::vector<double> partial(static_cast<size_t>(2 * task_count(args)));
  args.eps = eps;
  args.partial = partial.data();
  args.losses = losses.mutable_data_ptr();
  args.sums = sums.mutable_data_ptr();
  const auto partial_sums = CONDINST_CPU_KERNEL(partial_sums);
  torch::stable::parallel_for(
      0, task_count(args), 1, [&](int64_t begin, int64_t end) { partial_sums(args, begin, end); });
  CONDINST_CPU_KERNEL(finish)(args, 0, args.count);
  return {losses, sums};
}

// grad_losses [K], sums [K, 2], masks [K, ...], targets [K, ...] -> gradient of masks [K, ...]
Tensor backward_cpu(const Tensor& grad_losses, const Tensor& sums, const Tensor& masks, const Tensor& targets) {
  check_inputs(masks, targets);
  const ScalarType type = accumulator_type(masks, targets);
  STD_TORCH_CHECK(grad_losses.scalar_type() == type && grad_losses.is_cpu() && grad_losses.dim() == 1 &&
                      grad_losses.size(0) == masks.size(0),
                  "grad_losses: expected [K] of the dtype of the losses on the CPU");
  STD_TORCH_CHECK(sums.scalar_type() == type && sums.is_cpu() && sums.dim() == 2 && sums.size(0) == masks.size(0) &&
                      sums.size(1) == 2,
                  "sums: expected [K, 2] of the dtype of the losses on the CPU");
  const Tensor dense_masks = torch::stable::contiguous(masks);
  const Tensor dense_targets = torch::stable::contiguous(targets);
  const Tensor dense_grads = torch::stable::contiguous(grad_losses);
  const Tensor dense_sums = torch::stable::contiguous(sums);
  // Of dense_masks, so that the gradient is contiguous.
  const Tensor grad_masks = torch::stable::empty_like(dense_masks);

  Args args = make_args(dense_masks, dense_targets);
  args.sums = dense_sums.mutable_data_ptr();
  args.grad_losses = dense_grads.const_data_ptr();
  args.grad_masks = grad_masks.mutable_data_ptr();
  const auto backward = CONDINST_CPU_KERNEL(backward);
  torch::stable::parallel_for(0, task_count(args), 1, [&](int64_t begin, int64_t end) { backward(args, begin, end); });
  return grad_masks;
}

}  // namespace
}  // namespace condinst::dice_loss

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def("dice_loss(Tensor masks, Tensor targets, float eps) -> (Tensor losses, Tensor sums)");
  m.def("dice_loss_backward(Tensor grad_losses, Tensor sums, Tensor masks, Tensor targets) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(condinst, CPU, m) {
  m.impl("dice_loss", TORCH_BOX(&condinst::dice_loss::forward_cpu));
  m.impl("dice_loss_backward", TORCH_BOX(&condinst::dice_loss::backward_cpu));
}
