// dynamic_mask_loss: schemas, checks of the targets, allocation, dispatch.
#include "../kernels/dynamic_mask_loss/dynamic_mask_loss_cpu.h"
#include "../kernels/dynamic_mask_loss/dynamic_mask_loss_cuda.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "mask_head_inputs.h"
#include "mask_head_inputs_cuda.h"

namespace condinst::dynamic_mask_loss {
namespace {

using dynamic_mask_head::CpuInputs;
using dynamic_mask_head::CudaInputs;
using dynamic_mask_head::Options;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// `inputs`: of the CPU or the CUDA kernels.
template <class KernelInputs>
void check_targets(const Tensor& target_masks, const Tensor& target_indices, const Tensor& mask_features,
                   const KernelInputs& inputs) {
  const int64_t height = int64_t{inputs.height} * inputs.factor, width = int64_t{inputs.width} * inputs.factor;
  STD_TORCH_CHECK(same_device(target_masks, mask_features) && element_type(target_masks) == ElementType::uint8 &&
                      target_masks.dim() == 3 && target_masks.size(1) == height && target_masks.size(2) == width,
                  "target_masks: expected [G, ", height, ", ", width, "] bool or uint8 on the device of mask_features");
  STD_TORCH_CHECK(same_device(target_indices, mask_features) && target_indices.scalar_type() == ScalarType::Long &&
                      target_indices.dim() == 1 && target_indices.size(0) == inputs.num_instances,
                  "target_indices: expected [", inputs.num_instances, "] int64 on the device of mask_features");
}

template <class Given>
void check_grads(const Tensor& grad_losses, const Tensor& sums, const Tensor& mask_features, const Given& given) {
  const ScalarType type = given.accumulator();
  const int64_t num_instances = given.inputs.num_instances;
  STD_TORCH_CHECK(grad_losses.scalar_type() == type && same_device(grad_losses, mask_features) &&
                      grad_losses.dim() == 1 && grad_losses.size(0) == num_instances,
                  "grad_losses: expected [K] of the dtype of the losses on the device of mask_features");
  STD_TORCH_CHECK(sums.scalar_type() == type && same_device(sums, mask_features) && sums.dim() == 2 &&
                      sums.size(0) == num_instances && sums.size(1) == 2,
                  "sums: expected [K, 2] of the dtype of the losses on the device of mask_features");
}

// The targets as the CPU kernels read them. Owns what `targets` points to.
class CpuTargets {
 public:
  CpuTargets(const Tensor& target_masks, const Tensor& target_indices)
      : masks_(dense(target_masks)), indices_(dense(target_indices)) {
    dynamic_mask_head::check_index_range("target_indices", indices_, target_masks.size(0));
    targets = {static_cast<const uint8_t*>(masks_.const_data_ptr()),
               static_cast<const int64_t*>(indices_.const_data_ptr())};
  }
  CpuTargets(const CpuTargets&) = delete;

  Targets targets{};

 private:
  Tensor masks_, indices_;
};

// The same for the CUDA kernels, which look at the indices themselves.
class CudaTargets {
 public:
  CudaTargets(const Tensor& target_masks, const Tensor& target_indices)
      : masks_(dense(target_masks)), indices_(dense(target_indices)) {
    targets = {static_cast<const uint8_t*>(masks_.const_data_ptr()),
               static_cast<const int64_t*>(indices_.const_data_ptr()), target_masks.size(0)};
  }
  CudaTargets(const CudaTargets&) = delete;

  cuda::Targets targets{};

 private:
  Tensor masks_, indices_;
};

// mask_features [B, C, H, W], params [K, P], locations [K, 2], image_indices [K], sizes_of_interest [K],
// target_masks [G, H*f, W*f], target_indices [K] -> losses [K], sums [K, 2]
std::tuple<Tensor, Tensor> forward(const Tensor& mask_features, const Tensor& params, const Tensor& locations,
                                   const Tensor& image_indices, const Tensor& sizes_of_interest,
                                   const Tensor& target_masks, const Tensor& target_indices, int64_t feature_stride,
                                   int64_t num_layers, int64_t channels, std::string coordinates, bool use_features,
                                   int64_t upsample_factor, double eps) {
  const Options options{feature_stride, num_layers, channels, coordinates, use_features, upsample_factor};
  const ScalarType type = dynamic_mask_head::accumulator_type(mask_features);
  if constexpr (kWithCuda) {
    if (on_cuda(mask_features)) {
      const CudaInputs given(mask_features, params, locations, image_indices, sizes_of_interest, options);
      check_targets(target_masks, target_indices, mask_features, given.inputs);
      const CudaTargets given_targets(target_masks, target_indices);
      const Tensor losses = torch::stable::new_empty(params, {params.size(0)}, type);
      const Tensor sums = torch::stable::new_empty(params, {params.size(0), 2}, type);
      const Tensor scratch = cuda_scratch(given, cuda::forward_scratch_bytes(given.inputs));
      on_current_stream(mask_features, [&](void* stream) {
        cuda::forward(given.inputs, given_targets.targets, eps, losses.mutable_data_ptr(), sums.mutable_data_ptr(),
                      scratch.mutable_data_ptr(), stream);
      });
      return {losses, sums};
    }
  }
  const CpuInputs given(mask_features, params, locations, image_indices, sizes_of_interest, options);
  const Inputs& inputs = given.inputs;
  check_targets(target_masks, target_indices, mask_features, inputs);
  const CpuTargets given_targets(target_masks, target_indices);
  const int64_t tasks = forward_task_count(inputs);
  const Tensor losses = torch::stable::new_empty(params, {inputs.num_instances}, type);
  const Tensor sums = torch::stable::new_empty(params, {inputs.num_instances, 2}, type);
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
std::tuple<Tensor, Tensor> backward(const Tensor& grad_losses, const Tensor& sums, const Tensor& mask_features,
                                    const Tensor& params, const Tensor& locations, const Tensor& image_indices,
                                    const Tensor& sizes_of_interest, const Tensor& target_masks,
                                    const Tensor& target_indices, int64_t feature_stride, int64_t num_layers,
                                    int64_t channels, std::string coordinates, bool use_features,
                                    int64_t upsample_factor) {
  const Options options{feature_stride, num_layers, channels, coordinates, use_features, upsample_factor};
  const Tensor dense_grads = dense(grad_losses);
  const Tensor dense_sums = dense(sums);
  if constexpr (kWithCuda) {
    if (on_cuda(mask_features)) {
      const CudaInputs given(mask_features, params, locations, image_indices, sizes_of_interest, options);
      check_targets(target_masks, target_indices, mask_features, given.inputs);
      check_grads(grad_losses, sums, mask_features, given);
      const CudaTargets given_targets(target_masks, target_indices);
      return dynamic_mask_head::backward_cuda(
          given, mask_features.scalar_type(),
          [&](void* grad_features, void* grad_params, void* scratch, void* stream) {
            cuda::backward(given.inputs, given_targets.targets, dense_grads.const_data_ptr(),
                           dense_sums.const_data_ptr(), grad_features, grad_params, scratch, stream);
          });
    }
  }
  const CpuInputs given(mask_features, params, locations, image_indices, sizes_of_interest, options);
  const Inputs& inputs = given.inputs;
  check_targets(target_masks, target_indices, mask_features, inputs);
  check_grads(grad_losses, sums, mask_features, given);
  const CpuTargets given_targets(target_masks, target_indices);

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
  m.impl("dynamic_mask_loss", TORCH_BOX(&condinst::dynamic_mask_loss::forward));
  m.impl("dynamic_mask_loss_backward", TORCH_BOX(&condinst::dynamic_mask_loss::backward));
}

#if defined(CONDINST_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(condinst, CUDA, m) {
  m.impl("dynamic_mask_loss", TORCH_BOX(&condinst::dynamic_mask_loss::forward));
  m.impl("dynamic_mask_loss_backward", TORCH_BOX(&condinst::dynamic_mask_loss::backward));
}
#endif
