// dynamic_mask_head: schemas, allocation, dispatch.
#include "../kernels/dynamic_mask_head/dynamic_mask_head_cpu.h"
#include "../kernels/dynamic_mask_head/dynamic_mask_head_cuda.h"

#include <string>
#include <tuple>

#include "mask_network_backward.h"
#include "mask_network_inputs.h"
#include "registration.h"

namespace condinst::dynamic_mask_head {
namespace {

using mask_network::CheckedInputs;
using mask_network::Options;
using torch::stable::Tensor;

Tensor new_logits(const Tensor& mask_features, const Inputs& inputs) {
  return torch::stable::new_empty(mask_features, {inputs.num_instances, int64_t{inputs.height} * inputs.factor,
                                                  int64_t{inputs.width} * inputs.factor});
}

void check_grad_logits(const Tensor& grad_logits, const Tensor& mask_features, const Inputs& inputs) {
  STD_TORCH_CHECK(same_device(grad_logits, mask_features) &&
                      grad_logits.scalar_type() == mask_features.scalar_type() && grad_logits.dim() == 3 &&
                      grad_logits.size(0) == inputs.num_instances &&
                      grad_logits.size(1) == int64_t{inputs.height} * inputs.factor &&
                      grad_logits.size(2) == int64_t{inputs.width} * inputs.factor,
                  "grad_logits: expected the shape, dtype and device of the logits");
}

// mask_features [B, C, H, W], params [K, P], locations [K, 2], image_indices [K], sizes_of_interest [K]
// -> logits [K, H*f, W*f]
Tensor forward(const Tensor& mask_features, const Tensor& params, const Tensor& locations, const Tensor& image_indices,
               const Tensor& sizes_of_interest, int64_t feature_stride, int64_t num_layers, int64_t channels,
               std::string coordinates, bool use_features, int64_t upsample_factor) {
  const Options options{feature_stride, num_layers, channels, coordinates, use_features, upsample_factor};
  const CheckedInputs inputs(mask_features, params, locations, image_indices, sizes_of_interest, options);
  const Tensor logits = new_logits(mask_features, inputs);
  if constexpr (kWithCuda) {
    if (on_cuda(mask_features)) {
      on_current_stream(mask_features, [&](void* stream) {
        cuda::forward(inputs, logits.mutable_data_ptr(), element_type(logits), stream);
      });
      return logits;
    }
  }
  if (is_empty(inputs)) {
    return logits;
  }
  const ForwardArgs args{inputs, element_type(logits), logits.mutable_data_ptr()};
  const auto forward = CONDINST_CPU_KERNEL(forward);
  mask_network::parallel_tasks(
      forward_task_count(inputs), mask_network::forward_scratch_bytes(inputs),
      [&](int64_t begin, int64_t end, void* scratch) { forward(args, begin, end, scratch); });
  return logits;
}

// grad_logits [K, H*f, W*f] -> gradients of mask_features [B, C, H, W] and params [K, P]
std::tuple<Tensor, Tensor> backward(const Tensor& grad_logits, const Tensor& mask_features, const Tensor& params,
                                    const Tensor& locations, const Tensor& image_indices,
                                    const Tensor& sizes_of_interest, int64_t feature_stride, int64_t num_layers,
                                    int64_t channels, std::string coordinates, bool use_features,
                                    int64_t upsample_factor) {
  const Options options{feature_stride, num_layers, channels, coordinates, use_features, upsample_factor};
  const CheckedInputs inputs(mask_features, params, locations, image_indices, sizes_of_interest, options);
  check_grad_logits(grad_logits, mask_features, inputs);
  const Tensor dense_grads = dense(grad_logits);
  if constexpr (kWithCuda) {
    if (on_cuda(mask_features)) {
      return mask_network::backward_cuda(
          inputs, mask_features.scalar_type(),
          [&](void* grad_features, void* grad_params, void* scratch, void* stream) {
            cuda::backward(inputs, dense_grads.const_data_ptr(), element_type(dense_grads), grad_features, grad_params,
                           scratch, stream);
          });
    }
  }
  const auto backward = CONDINST_CPU_KERNEL(backward);
  return mask_network::backward_cpu(
      inputs, mask_features.scalar_type(), [&](const Groups& groups, int64_t begin, int64_t end, void* scratch) {
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

CONDINST_LIBRARY_IMPL(m) {
  m.impl("dynamic_mask_head", TORCH_BOX(&condinst::dynamic_mask_head::forward));
  m.impl("dynamic_mask_head_backward", TORCH_BOX(&condinst::dynamic_mask_head::backward));
}
