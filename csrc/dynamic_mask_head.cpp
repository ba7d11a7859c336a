// dynamic_mask_head: schemas, allocation, dispatch.
#include "mask_head_inputs.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

namespace condinst::dynamic_mask_head {
namespace {

// mask_features [B, C, H, W], params [K, P], locations [K, 2], image_indices [K], sizes_of_interest [K]
// -> logits [K, H*f, W*f]
Tensor forward_cpu(const Tensor& mask_features, const Tensor& params, const Tensor& locations,
                   const Tensor& image_indices, const Tensor& sizes_of_interest, int64_t feature_stride,
                   int64_t num_layers, int64_t channels, std::string coordinates, bool use_features,
                   int64_t upsample_factor) {
  const CpuInputs given(mask_features, params, locations, image_indices, sizes_of_interest,
                        {feature_stride, num_layers, channels, coordinates, use_features, upsample_factor});
  const Inputs& inputs = given.inputs;
  const Tensor logits = torch::stable::new_empty(
      mask_features, {inputs.num_instances, inputs.height * upsample_factor, inputs.width * upsample_factor});
  if (!given.has_cells()) {
    return logits;
  }

  const ForwardArgs args{inputs, element_type(logits), logits.mutable_data_ptr()};
  const auto forward = CONDINST_CPU_KERNEL(forward);
  parallel_tasks(forward_task_count(inputs), forward_scratch_bytes(inputs),
                 [&](int64_t begin, int64_t end, void* scratch) { forward(args, begin, end, scratch); });
  return logits;
}

// grad_logits [K, H*f, W*f] -> gradients of mask_features [B, C, H, W] and params [K, P]
std::tuple<Tensor, Tensor> backward_of_logits_cpu(const Tensor& grad_logits, const Tensor& mask_features,
                                                  const Tensor& params, const Tensor& locations,
                                                  const Tensor& image_indices, const Tensor& sizes_of_interest,
                                                  int64_t feature_stride, int64_t num_layers, int64_t channels,
                                                  std::string coordinates, bool use_features, int64_t upsample_factor) {
  const CpuInputs given(mask_features, params, locations, image_indices, sizes_of_interest,
                        {feature_stride, num_layers, channels, coordinates, use_features, upsample_factor});
  const Inputs& inputs = given.inputs;
  STD_TORCH_CHECK(grad_logits.is_cpu() && grad_logits.scalar_type() == mask_features.scalar_type() &&
                      grad_logits.dim() == 3 && grad_logits.size(0) == inputs.num_instances &&
                      grad_logits.size(1) == inputs.height * upsample_factor &&
                      grad_logits.size(2) == inputs.width * upsample_factor,
                  "grad_logits: expected the shape, dtype and device of the logits");
  const Tensor dense_grads = torch::stable::contiguous(grad_logits);

  const auto backward = CONDINST_CPU_KERNEL(backward);
  return backward_cpu(given, mask_features.scalar_type(),
                      [&](const Groups& groups, int64_t begin, int64_t end, void* scratch) {
                        const BackwardArgs args{inputs, groups, element_type(dense_grads), dense_grads.const_data_ptr()};
                        backward(args, begin, end, scratch);
                      });
}

}  // namespace
}  // namespace condinst::dynamic_mask_head

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "dynamic_mask_head(Tensor mask_features, Tensor params, Tensor locations, Tensor image_indices, "
      "Tensor sizes_of_interest, int feature_stride, int num_layers, int channels, str coordinates, bool use_features, "
      "int upsample_factor) -> Tensor logits");
  m.def(
      "dynamic_mask_head_backward(Tensor grad_logits, Tensor mask_features, Tensor params, Tensor locations, "
      "Tensor image_indices, Tensor sizes_of_interest, int feature_stride, int num_layers, int channels, "
      "str coordinates, bool use_features, int upsample_factor) -> (Tensor grad_mask_features, Tensor grad_params)");
}

STABLE_TORCH_LIBRARY_IMPL(condinst, CPU, m) {
  m.impl("dynamic_mask_head", TORCH_BOX(&condinst::dynamic_mask_head::forward_cpu));
  m.impl("dynamic_mask_head_backward", TORCH_BOX(&condinst::dynamic_mask_head::backward_of_logits_cpu));
}
