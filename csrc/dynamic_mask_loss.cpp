// dynamic_mask_loss: schemas, checks of the targets, allocation, dispatch.
#include "../kernels/dynamic_mask_loss/dynamic_mask_loss_cpu.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "mask_head_inputs.h"

namespace condinst::dynamic_mask_loss {
namespace {

using dynamic_mask_head::CpuInputs;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The targets as the CPU kernels read them. Owns what `targets` points to.
class CpuTargets {
 public:
  CpuTargets(const Tensor& target_masks, const Tensor& target_indices, const Inputs& inputs) {
    STD_TORCH_CHECK(target_masks.is_cpu() && element_type(target_masks) == ElementType::uint8 &&
                        target_masks.dim() == 3 && target_masks.size(1) == inputs.height * inputs.factor &&
                        target_masks.size(2) == inputs.width * inputs.factor,
                    "target_masks: expected [G, ", inputs.height * inputs.factor, ", ", inputs.width * inputs.factor,
                    "] bool or uint8 on the CPU");
    STD_TORCH_CHECK(target_indices.is_cpu() && target_indices.scalar_type() == ScalarType::Long &&
                        target_indices.dim() == 1 && target_indices.size(0) == inputs.num_instances,
                    "target_indices: expected [", inputs.num_instances, "] int64 on the CPU");
    masks_ = torch::stable::contiguous(target_masks);
    indices_ = torch::stable::contiguous(target_indices);
    dynamic_mask_head::check_index_range("target_indices", indices_, target_masks.size(0));
    targets = {static_cast<const uint8_t*>(masks_.const_data_ptr()),
               static_cast<const int64_t*>(indices_.const_data_ptr())};
  }
  CpuTargets(const CpuTargets&) = delete;

  Targets targets{};

 private:
  Tensor masks_, indices_;
};

// mask_features [B, C, H, W], params [K, P], locations [K, 2], image_indices [K], sizes_of_interest [K],
// target_masks [G, H*f, W*f], target_indices [K] -> losses [K], sums [K, 2]
std::tuple<Tensor, Tensor> forward_cpu(const Tensor& mask_features, const Tensor& params, const Tensor& locations,
                                       const Tensor& image_indices, const Tensor& sizes_of_interest,
                                       const Tensor& target_masks, const Tensor& target_indices, int64_t feature_stride,
                                       int64_t num_layers, int64_t channels, std::string coordinates, bool use_features,
                                       int64_t upsample_factor, double eps) {
  const CpuInputs given(mask_features, params, locations, image_indices, sizes_of_interest,
                        {feature_stride, num_layers, channels, coordinates, use_features, upsample_factor});
  const Inputs& inputs = given.inputs;
  const CpuTargets given_targets(target_masks, target_indices, inputs);
  const int64_t tasks = forward_task_count(inputs);
  const Tensor losses = torch::stable::new_empty(params, {inputs.num_instances}, given.accumulator());
  const Tensor sums = torch::stable::new_empty(params, {inputs.num_instances, 2}, given.accumulator());
  const Tensor partial = torch::stable::new_empty(params, {tasks, 2}, ScalarType::Double);

  const ForwardArgs args{inputs,
                         given_targets.targets,
                         eps,
                         static_cast<double*>(partial.mutable_data_ptr()),
                         losses.mutable_data_ptr(),
                         sums.mutable_data_ptr()};
  const auto partial_sums = CONDINST_CPU_KERNEL(partial_sums);
  dynamic_mask_head::parallel_tasks(
      tasks, dynamic_mask_head::forward_scratch_bytes(inputs),
      [&](int64_t begin, int64_t end, void* scratch) { partial_sums(args, begin, end, scratch); });
  CONDINST_CPU_KERNEL(finish)(args);
  return {losses, sums};
}

// grad_losses [K], sums [K, 2] -> gradients of mask_features [B, C, H, W] and params [K, P]
std::tuple<Tensor, Tensor> backward_cpu(const Tensor& grad_losses, const Tensor& sums, const Tensor& mask_features,
                                        const Tensor& params, const Tensor& locations, const Tensor& image_indices,
                                        const Tensor& sizes_of_interest, const Tensor& target_masks,
                                        const Tensor& target_indices, int64_t feature_stride, int64_t num_layers,
                                        int64_t channels, std::string coordinates, bool use_features,
                                        int64_t upsample_factor) {
  const CpuInputs given(mask_features, params, locations, image_indices, sizes_of_interest,
                        {feature_stride, num_layers, channels, coordinates, use_features, upsample_factor});
  const Inputs& inputs = given.inputs;
  const CpuTargets given_targets(target_masks, target_indices, inputs);
  const ScalarType type = given.accumulator();
  STD_TORCH_CHECK(grad_losses.scalar_type() == type && grad_losses.is_cpu() && grad_losses.dim() == 1 &&
                      grad_losses.size(0) == inputs.num_instances,
                  "grad_losses: expected [K] of the dtype of the losses on the CPU");
  STD_TORCH_CHECK(sums.scalar_type() == type && sums.is_cpu() && sums.dim() == 2 &&
                      sums.size(0) == inputs.num_instances && sums.size(1) == 2,
                  "sums: expected [K, 2] of the dtype of the losses on the CPU");
  const Tensor dense_grads = torch::stable::contiguous(grad_losses);
  const Tensor dense_sums = torch::stable::contiguous(sums);

  const auto backward = CONDINST_CPU_KERNEL(backward);
  return dynamic_mask_head::backward_cpu(
      given, mask_features.scalar_type(), [&](const Groups& groups, int64_t begin, int64_t end, void* scratch) {
        const BackwardArgs args{inputs, groups, given_targets.targets, dense_sums.const_data_ptr(),
                                dense_grads.const_data_ptr()};
        backward(args, begin, end, scratch);
      });
}

}  // namespace
}  // namespace condinst::dynamic_mask_loss

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "dynamic_mask_loss(Tensor mask_features, Tensor params, Tensor locations, Tensor image_indices, "
      "Tensor sizes_of_interest, Tensor target_masks, Tensor target_indices, int feature_stride, int num_layers, "
      "int channels, str coordinates, bool use_features, int upsample_factor, float eps) "
      "-> (Tensor losses, Tensor sums)");
  m.def(
      "dynamic_mask_loss_backward(Tensor grad_losses, Tensor sums, Tensor mask_features, Tensor params, "
      "Tensor locations, Tensor image_indices, Tensor sizes_of_interest, Tensor target_masks, Tensor target_indices, "
      "int feature_stride, int num_layers, int channels, str coordinates, bool use_features, int upsample_factor) "
      "-> (Tensor grad_mask_features, Tensor grad_params)");
}

STABLE_TORCH_LIBRARY_IMPL(condinst, CPU, m) {
  m.impl("dynamic_mask_loss", TORCH_BOX(&condinst::dynamic_mask_loss::forward_cpu));
  m.impl("dynamic_mask_loss_backward", TORCH_BOX(&condinst::dynamic_mask_loss::backward_cpu));
}
