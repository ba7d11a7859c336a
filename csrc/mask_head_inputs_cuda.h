// The inputs that dynamic_mask_head and dynamic_mask_loss share, as the CUDA kernels read them.
#pragma once

#include <torch/csrc/stable/ops.h>

#include "../kernels/dynamic_mask_head/dynamic_mask_head_cuda.h"
#include "cuda.h"
#include "mask_head_inputs.h"

namespace condinst::dynamic_mask_head {

// Owns what `inputs` points to.
class CudaInputs {
 public:
  CudaInputs(const Tensor& mask_features, const Tensor& params, const Tensor& locations, const Tensor& image_indices,
             const Tensor& sizes_of_interest, const Options& options)
      : type_(accumulator_type(mask_features)) {
    check_mask_head_inputs(mask_features, params, locations, image_indices, sizes_of_interest, options);
    for (const Tensor* tensor : {&params, &locations, &image_indices, &sizes_of_interest}) {
      STD_TORCH_CHECK(same_device(*tensor, mask_features), "dynamic mask head: expected tensors of one device");
    }
    const int64_t factor = options.upsample_factor;
    STD_TORCH_CHECK(product("mask_features", {mask_features.size(2), mask_features.size(3), factor, factor}) <=
                        kMostPixels,
                    "mask_features: expected maps of less than 2^31 pixels after upsampling");
    // The scratch memory of backward has at most 64 maps more than there are images.
    product("mask_features", {mask_features.size(0) + 64, mask_features.size(1), mask_features.size(2),
                              mask_features.size(3), static_cast<int64_t>(sizeof(double))});
    features_ = dense(mask_features, type_);
    params_ = dense(params, type_);
    locations_ = dense(locations, type_);
    image_indices_ = dense(image_indices);
    sizes_ = dense(sizes_of_interest, type_);

    inputs.network = checked_network(mask_features, options);
    inputs.features = features_.const_data_ptr();
    inputs.params = params_.const_data_ptr();
    inputs.locations = locations_.const_data_ptr();
    inputs.image_indices = static_cast<const int64_t*>(image_indices_.const_data_ptr());
    inputs.sizes_of_interest = sizes_.const_data_ptr();
    inputs.num_images = mask_features.size(0);
    inputs.num_instances = params.size(0);
    inputs.map_channels = static_cast<int>(mask_features.size(1));
    inputs.height = static_cast<int>(mask_features.size(2));
    inputs.width = static_cast<int>(mask_features.size(3));
    inputs.feature_stride = static_cast<int>(options.feature_stride);
    inputs.factor = static_cast<int>(factor);
    inputs.wide = type_ == ScalarType::Double;
  }
  CudaInputs(const CudaInputs&) = delete;

  ScalarType accumulator() const { return type_; }
  const Tensor& features() const { return features_; }

  cuda::Inputs inputs{};

 private:
  ScalarType type_;
  Tensor features_, params_, locations_, image_indices_, sizes_;
};

// Scratch memory on the device of the inputs.
inline Tensor cuda_scratch(const CudaInputs& given, int64_t bytes) {
  return torch::stable::new_empty(given.features(), {bytes}, ScalarType::Byte);
}

// Backward of head and loss, but for the kernels: run(grad_features, grad_params, scratch, stream) launches them.
// -> gradients of mask_features [B, C, H, W] and params [K, P], of `type`
template <class Run>
std::tuple<Tensor, Tensor> backward_cuda(const CudaInputs& given, ScalarType type, const Run& run) {
  const cuda::Inputs& inputs = given.inputs;
  const Tensor grad_features = torch::stable::new_empty(
      given.features(), {inputs.num_images, inputs.map_channels, inputs.height, inputs.width}, given.accumulator());
  const Tensor grad_params = torch::stable::new_empty(
      given.features(), {inputs.num_instances, inputs.network.num_params()}, given.accumulator());
  const Tensor scratch = cuda_scratch(given, cuda::backward_scratch_bytes(inputs));
  on_current_stream(given.features(), [&](void* stream) {
    run(grad_features.mutable_data_ptr(), grad_params.mutable_data_ptr(), scratch.mutable_data_ptr(), stream);
  });
  return {dense(grad_features, type), dense(grad_params, type)};
}

}  // namespace condinst::dynamic_mask_head
