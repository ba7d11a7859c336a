// dynamic_mask_head: schemas, allocation, dispatch.
#include "mask_head_inputs.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "mask_head_inputs_cuda.h"

namespace condinst::dynamic_mask_head {
namespace {

// `Given`: CpuInputs or CudaInputs.
template <class Given>
Tensor new_logits(const Tensor& mask_features, const Given& given) {
  const auto& inputs = given.inputs;
  return torch::stable::new_empty(mask_features, {inputs.num_instances, int64_t{inputs.height} * inputs.factor,
                                                  int64_t{inputs.width} * inputs.factor});
}

template <class Given>
void check_grad_logits(const Tensor& grad_logits, const Tensor& mask_features, const Given& given) {
  const auto& inputs = given.inputs;
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
  if constexpr (kWithCuda) {
    if (on_cuda(mask_features)) {
      const CudaInputs given(mask_features, params, locations, image_indices, sizes_of_interest, options);
      const Tensor logits = new_logits(mask_features, given);
      on_current_stream(mask_features, [&](void* stream) {
        cuda::forward(given.inputs, logits.mutable_data_ptr(), element_type(logits), stream);
      });
      return logits;
    }
  }
  const CpuInputs given(mask_features, params, locations, image_indices, sizes_of_interest, options);
  const Inputs& inputs = given.inputs;
  const Tensor logits = new_logits(mask_features, given);
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
std::tuple<Tensor, Tensor> backward(const Tensor& grad_logits, const Tensor& mask_features, const Tensor& params,
                                    const Tensor& locations, const Tensor& image_indices,
                                    const Tensor& sizes_of_interest, int64_t feature_stride, int64_t num_layers,
                                    int64_t channels, std::string coordinates, bool use_features,
                                    int64_t upsample_factor) {
  const Options options{feature_stride, num_layers, channels, coordinates, use_features, upsample_factor};
  const Tensor dense_grads = dense(grad_logits);
  if constexpr (kWithCuda) {
    if (on_cuda(mask_features)) {
      const CudaInputs given(mask_features, params, locations, image_indices, sizes_of_interest, options);
      check_grad_logits(grad_logits, mask_features, given);
      return backward_cuda(given, mask_features.scalar_type(),
                           [&](void* grad_features, void* grad_params, void* scratch, void* stream) {
                             cuda::backward(given.inputs, dense_grads.const_data_ptr(), element_type(dense_grads),
                                            grad_features, grad_params, scratch, stream);
                           });
    }
  }
  const CpuInputs given(mask_features, params, locations, image_indices, sizes_of_interest, options);
  const Inputs& inputs = given.inputs;
  check_grad_logits(grad_logits, mask_features, given);

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
  m.impl("dynamic_mask_head", TORCH_BOX(&condinst::dynamic_mask_head::forward));
  m.impl("dynamic_mask_head_backward", TORCH_BOX(&condinst::dynamic_mask_head::backward));
}

#if defined(CONDINST_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(condinst, CUDA, m) {
  m.impl("dynamic_mask_head", TORCH_BOX(&condinst::dynamic_mask_head::forward));
  m.impl("dynamic_mask_head_backward", TORCH_BOX(&condinst::dynamic_mask_head::backward));
}
#endif
