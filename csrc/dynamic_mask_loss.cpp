// dynamic_mask_loss: schemas, checks of the targets, allocation, dispatch.
#include "../kernels/dynamic_mask_loss/dynamic_mask_loss_cpu.h"
#include "../kernels/dynamic_mask_loss/dynamic_mask_loss_cuda.h"

#include <string>
#include <tuple>

#include "mask_network_backward.h"
#include "mask_network_inputs.h"
#include "registration.h"

namespace condinst::dynamic_mask_loss {
namespace {

using mask_network::CheckedInputs;
using mask_network::Options;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The targets in the form that the kernels of the device read. Owns the memory that they point to.
class CheckedTargets : public Targets {
 public:
  CheckedTargets(const Tensor& target_masks, const Tensor& target_indices, const Tensor& mask_features,
                 const Inputs& inputs)
      : Targets{} {
    const int64_t height = int64_t{inputs.height} * inputs.factor, width = int64_t{inputs.width} * inputs.factor;
    STD_TORCH_CHECK(same_device(target_masks, mask_features) && element_type(target_masks) == ElementType::uint8 &&
                        target_masks.dim() == 3 && target_masks.size(1) == height && target_masks.size(2) == width,
                    "target_masks: expected [G, ", height, ", ", width,
                    "] bool or uint8 on the device of mask_features");
    STD_TORCH_CHECK(same_device(target_indices, mask_features) && target_indices.scalar_type() == ScalarType::Long &&
                        target_indices.dim() == 1 && target_indices.size(0) == inputs.num_instances,
                    "target_indices: expected [", inputs.num_instances, "] int64 on the device of mask_features");
    masks_ = dense(target_masks);
    indices_ = dense(target_indices);
    if (!on_cuda(mask_features)) {  // the CUDA kernels check the indices
      mask_network::check_index_range("target_indices", indices_, target_masks.size(0));
    }
    masks = static_cast<const uint8_t*>(masks_.const_data_ptr());
    indices = static_cast<const int64_t*>(indices_.const_data_ptr());
    num_targets = target_masks.size(0);
  }
  CheckedTargets(const CheckedTargets&) = delete;

 private:
  Tensor masks_, indices_;
};

void check_grads(const Tensor& grad_losses, const Tensor& sums, const Tensor& mask_features,
                 const CheckedInputs& inputs) {
  const ScalarType type = inputs.accumulator();
  const int64_t num_instances = inputs.num_instances;
  STD_TORCH_CHECK(grad_losses.scalar_type() == type && same_device(grad_losses, mask_features) &&
                      grad_losses.dim() == 1 && grad_losses.size(0) == num_instances,
                  "grad_losses: expected [K] of the dtype of the losses on the device of mask_features");
  STD_TORCH_CHECK(sums.scalar_type() == type && same_device(sums, mask_features) && sums.dim() == 2 &&
                      sums.size(0) == num_instances && sums.size(1) == 2,
                  "sums: expected [K, 2] of the dtype of the losses on the device of mask_features");
}

// mask_features [B, C, H, W], params [K, P], locations [K, 2], image_indices [K], sizes_of_interest [K],
// target_masks [G, H*f, W*f], target_indices [K] -> losses [K], sums [K, 2]
std::tuple<Tensor, Tensor> forward(const Tensor& mask_features, const Tensor& params, const Tensor& locations,
                                   const Tensor& image_indices, const Tensor& sizes_of_interest,
                                   const Tensor& target_masks, const Tensor& target_indices, int64_t feature_stride,
                                   int64_t num_layers, int64_t channels, std::string coordinates, bool use_features,
                                   int64_t upsample_factor, double eps) {
  const Options options{feature_stride, num_layers, channels, coordinates, use_features, upsample_factor};
  const CheckedInputs inputs(mask_features, params, locations, image_indices, sizes_of_interest, options);
  const CheckedTargets targets(target_masks, target_indices, mask_features, inputs);
  const Tensor losses = torch::stable::new_empty(params, {inputs.num_instances}, inputs.accumulator());
  const Tensor sums = torch::stable::new_empty(params, {inputs.num_instances, 2}, inputs.accumulator());
  if constexpr (kWithCuda) {
    if (on_cuda(mask_features)) {
      const Tensor scratch = mask_network::cuda_scratch(inputs, cuda::forward_scratch_bytes(inputs));
      on_current_stream(mask_features, [&](void* stream) {
        cuda::forward(inputs, targets, eps, losses.mutable_data_ptr(), sums.mutable_data_ptr(),
                      scratch.mutable_data_ptr(), stream);
      });
      return {losses, sums};
    }
  }
  const int64_t tasks = forward_task_count(inputs);
  const Tensor partial = torch::stable::new_empty(params, {tasks, 2}, ScalarType::Double);

  const ForwardArgs args{inputs,
                         targets,
                         eps,
                         static_cast<double*>(partial.mutable_data_ptr()),
                         losses.mutable_data_ptr(),
                         sums.mutable_data_ptr()};
  const auto partial_sums = CONDINST_CPU_KERNEL(partial_sums);
  mask_network::parallel_tasks(
      tasks, mask_network::forward_scratch_bytes(inputs),
      [&](int64_t begin, int64_t end, void* scratch) { partial_sums(args, begin, end, scratch); });
  CONDINST_CPU_KERNEL(finish)(args);
  return {losses, sums};
}

// grad_losses [K], sums [K, 2] -> gradients of mask_features [B, C, H, W] and params [K, P]
std::tuple<Tensor, Tensor> backward(const Tensor& grad_losses, const Tensor& sums, const Tensor& mask_features,
                                    const Tensor& params, const Tensor& locations, const Tensor& image_indices,
                                    const Tensor& sizes_of_interest, const Tensor& target_masks,
                                    const Tensor& target_indices, int64_t feature_stride, int64_t num_layers,
                                    int64_t channels, std::string coordinates, bool use_features,
                                    int64_t upsample_factor) {
  const Options options{feature_stride, num_layers, channels, coordinates, use_features, upsample_factor};
  const CheckedInputs inputs(mask_features, params, locations, image_indices, sizes_of_interest, options);
  const CheckedTargets targets(target_masks, target_indices, mask_features, inputs);
  check_grads(grad_losses, sums, mask_features, inputs);
  const Tensor dense_grads = dense(grad_losses);
  const Tensor dense_sums = dense(sums);
  if constexpr (kWithCuda) {
    if (on_cuda(mask_features)) {
      return mask_network::backward_cuda(
          inputs, mask_features.scalar_type(),
          [&](void* grad_features, void* grad_params, void* scratch, void* stream) {
            cuda::backward(inputs, targets, dense_grads.const_data_ptr(), dense_sums.const_data_ptr(), grad_features,
                           grad_params, scratch, stream);
          });
    }
  }
  const auto backward = CONDINST_CPU_KERNEL(backward);
  return mask_network::backward_cpu(
      inputs, mask_features.scalar_type(), [&](const Groups& groups, int64_t begin, int64_t end, void* scratch) {
        const BackwardArgs args{inputs, groups, targets, dense_sums.const_data_ptr(), dense_grads.const_data_ptr()};
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

CONDINST_LIBRARY_IMPL(m) {
  m.impl("dynamic_mask_loss", TORCH_BOX(&condinst::dynamic_mask_loss::forward));
  m.impl("dynamic_mask_loss_backward", TORCH_BOX(&condinst::dynamic_mask_loss::backward));
}
