// dice_loss: schemas, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are defensive
// checks for direct callers of torch.ops.condinst.
#include "../kernels/dice_loss/dice_loss_cpu.h"
#include "../kernels/dice_loss/dice_loss_cuda.h"

#include <torch/csrc/stable/ops.h>

#include <tuple>

#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "registration.h"

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
  STD_TORCH_CHECK(same_device(masks, targets), "targets: expected the device of masks");
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
  args.chunk = on_cuda(masks) ? cuda::kChunk : kCpuChunk;
  args.chunks = (args.size + args.chunk - 1) / args.chunk;
  return args;
}

void run_forward(const Tensor& masks, const Args& args) {
  if constexpr (kWithCuda) {
    if (on_cuda(masks)) {
      return on_current_stream(masks, [&](void* stream) { cuda::forward(args, stream); });
    }
  }
  const auto partial_sums = CONDINST_CPU_KERNEL(partial_sums);
  torch::stable::parallel_for(
      0, task_count(args), 1, [&](int64_t begin, int64_t end) { partial_sums(args, begin, end); });
  CONDINST_CPU_KERNEL(finish)(args, 0, args.count);
}

void run_backward(const Tensor& masks, const Args& args) {
  if constexpr (kWithCuda) {
    if (on_cuda(masks)) {
      return on_current_stream(masks, [&](void* stream) { cuda::backward(args, stream); });
    }
  }
  const auto backward = CONDINST_CPU_KERNEL(backward);
  torch::stable::parallel_for(0, task_count(args), 1, [&](int64_t begin, int64_t end) { backward(args, begin, end); });
}

// masks [K, ...], targets [K, ...] -> losses [K], sums [K, 2]
std::tuple<Tensor, Tensor> forward(const Tensor& masks, const Tensor& targets, double eps) {
  check_inputs(masks, targets);
  const Tensor dense_masks = dense(masks);
  const Tensor dense_targets = dense(targets);
  const ScalarType type = accumulator_type(masks, targets);
  const Tensor losses = torch::stable::new_empty(masks, {masks.size(0)}, type);
  const Tensor sums = torch::stable::new_empty(masks, {masks.size(0), 2}, type);

  Args args = make_args(dense_masks, dense_targets);
  const Tensor partial = torch::stable::new_empty(masks, {args.count, args.chunks, 2}, ScalarType::Double);
  args.eps = eps;
  args.partial = static_cast<double*>(partial.mutable_data_ptr());
  args.losses = losses.mutable_data_ptr();
  args.sums = sums.mutable_data_ptr();
  run_forward(masks, args);
  return {losses, sums};
}

// grad_losses [K], sums [K, 2], masks [K, ...], targets [K, ...] -> gradient of masks [K, ...]
Tensor backward(const Tensor& grad_losses, const Tensor& sums, const Tensor& masks, const Tensor& targets) {
  check_inputs(masks, targets);
  const ScalarType type = accumulator_type(masks, targets);
  STD_TORCH_CHECK(grad_losses.scalar_type() == type && same_device(grad_losses, masks) && grad_losses.dim() == 1 &&
                      grad_losses.size(0) == masks.size(0),
                  "grad_losses: expected [K] of the dtype of the losses on the device of masks");
  STD_TORCH_CHECK(sums.scalar_type() == type && same_device(sums, masks) && sums.dim() == 2 &&
                      sums.size(0) == masks.size(0) && sums.size(1) == 2,
                  "sums: expected [K, 2] of the dtype of the losses on the device of masks");
  const Tensor dense_masks = dense(masks);
  const Tensor dense_targets = dense(targets);
  const Tensor dense_grads = dense(grad_losses);
  const Tensor dense_sums = dense(sums);
  // Allocated like dense_masks, so that the gradient is contiguous.
  const Tensor grad_masks = torch::stable::empty_like(dense_masks);

  Args args = make_args(dense_masks, dense_targets);
  args.sums = dense_sums.mutable_data_ptr();
  args.grad_losses = dense_grads.const_data_ptr();
  args.grad_masks = grad_masks.mutable_data_ptr();
  run_backward(masks, args);
  return grad_masks;
}

}  // namespace
}  // namespace condinst::dice_loss

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def("dice_loss(Tensor masks, Tensor targets, float eps) -> (Tensor losses, Tensor sums)");
  m.def("dice_loss_backward(Tensor grad_losses, Tensor sums, Tensor masks, Tensor targets) -> Tensor");
}

CONDINST_LIBRARY_IMPL(m) {
  m.impl("dice_loss", TORCH_BOX(&condinst::dice_loss::forward));
  m.impl("dice_loss_backward", TORCH_BOX(&condinst::dice_loss::backward));
}
