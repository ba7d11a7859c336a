// The inputs that dynamic_mask_head and dynamic_mask_loss share: checks and conversion.
// condinst/ops checks what users pass; the checks here are defensive checks for direct callers of torch.ops.condinst.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <string>

#include "../kernels/mask_network/mask_network_cpu.h"
#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "sizes.h"

namespace condinst::mask_network {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The options in the order of the schemas.
struct Options {
  int64_t feature_stride, num_layers, channels;
  std::string coordinates;
  bool use_features;
  int64_t upsample_factor;
};

inline ScalarType accumulator_type(const Tensor& mask_features) {
  return mask_features.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline Coordinates parse_coordinates(const std::string& name) {
  if (name == "none") {
    return Coordinates::none;
  }
  STD_TORCH_CHECK(name == "relative" || name == "absolute", "coordinates: expected relative, absolute or none; got '",
                  name, "'");
  return name == "relative" ? Coordinates::relative : Coordinates::absolute;
}

inline Network checked_network(const Tensor& mask_features, const Options& options) {
  STD_TORCH_CHECK(mask_features.dim() == 4, "mask_features: expected 4 dimensions, got ", mask_features.dim());
  for (int64_t dim = 0; dim < mask_features.dim(); ++dim) {
    STD_TORCH_CHECK(is_side(mask_features.size(dim)), "mask_features: expected dimensions of at most ", kMostSide);
  }
  STD_TORCH_CHECK(options.num_layers >= 1 && options.num_layers <= kMaxLayers, "num_layers: expected 1 to ", kMaxLayers,
                  ", got ", options.num_layers);
  STD_TORCH_CHECK(options.channels >= 1 && options.channels <= kMaxChannels, "channels: expected 1 to ", kMaxChannels,
                  ", got ", options.channels);
  const int64_t feature_channels = options.use_features ? mask_features.size(1) : 0;
  STD_TORCH_CHECK(feature_channels <= kMaxChannels, "mask_features: expected at most ", kMaxChannels,
                  " channels, got ", feature_channels);
  const Network network{static_cast<int>(options.num_layers), static_cast<int>(options.channels),
                        static_cast<int>(feature_channels), parse_coordinates(options.coordinates)};
  STD_TORCH_CHECK(network.in_channels(0) > 0, "mask_features: expected a channel of features or coordinates");
  return network;
}

inline void check_inputs(const Tensor& mask_features, const Tensor& params, const Tensor& locations,
                         const Tensor& image_indices, const Tensor& sizes_of_interest, const Options& options) {
  const Network network = checked_network(mask_features, options);
  STD_TORCH_CHECK(element_type(mask_features) != ElementType::uint8 &&
                      mask_features.scalar_type() == params.scalar_type(),
                  "mask_features, params: expected one floating dtype");
  STD_TORCH_CHECK(params.dim() == 2 && params.size(1) == network.num_params(), "params: expected [K, ",
                  network.num_params(), "]");
  const int64_t num_instances = params.size(0);
  STD_TORCH_CHECK(is_side(num_instances), "params: expected at most ", kMostSide, " instances");
  STD_TORCH_CHECK(locations.dim() == 2 && locations.size(0) == num_instances && locations.size(1) == 2,
                  "locations: expected [K, 2]");
  STD_TORCH_CHECK(image_indices.dim() == 1 && image_indices.size(0) == num_instances &&
                      image_indices.scalar_type() == ScalarType::Long,
                  "image_indices: expected [K] int64");
  STD_TORCH_CHECK(sizes_of_interest.dim() == 1 && sizes_of_interest.size(0) == num_instances,
                  "sizes_of_interest: expected [K]");
  STD_TORCH_CHECK(is_stride(options.feature_stride), "feature_stride: expected 1 .. ", kMostSide, ", got ",
                  options.feature_stride);
  const int64_t factor = options.upsample_factor;
  STD_TORCH_CHECK(factor == 1 || factor == 2 || factor == 4, "upsample_factor: expected 1, 2 or 4; got ", factor);
  for (const Tensor* tensor : {&params, &locations, &image_indices, &sizes_of_interest}) {
    STD_TORCH_CHECK(same_device(*tensor, mask_features), "dynamic mask head: expected tensors of one device");
  }
}

// The limits of only the CUDA kernels: positions in a map have 32 bits, and int64_t must hold the size of scratch memory.
inline void check_cuda_sizes(const Tensor& mask_features, const Options& options) {
  const int64_t factor = options.upsample_factor;
  STD_TORCH_CHECK(product("mask_features", {mask_features.size(2), mask_features.size(3), factor, factor}) <=
                      kMostPixels,
                  "mask_features: expected maps of less than 2^31 pixels after upsampling");
  // The scratch memory of backward has at most 64 more maps than there are images.
  product("mask_features", {mask_features.size(0) + 64, mask_features.size(1), mask_features.size(2),
                            mask_features.size(3), static_cast<int64_t>(sizeof(double))});
}

// indices [K] contiguous on the CPU
inline void check_index_range(const char* name, const Tensor& indices, int64_t size) {
  const int64_t* values = static_cast<const int64_t*>(indices.const_data_ptr());
  for (int64_t i = 0; i < indices.numel(); ++i) {
    STD_TORCH_CHECK(values[i] >= 0 && values[i] < size, name, ": expected indices in 0 .. ", size - 1, ", got ",
                    values[i]);
  }
}

// features [B, C, H, W] of any layout and dtype -> [B, C, H, padded_width(W)] of `type`, 0 in the padding
inline Tensor padded_features(const Tensor& features, ScalarType type) {
  const int64_t width = features.size(3), padded = padded_width(width);
  if (padded == width) {
    return dense(features, type);
  }
  Tensor result =
      torch::stable::new_empty(features, {features.size(0), features.size(1), features.size(2), padded}, type);
  Tensor cells = torch::stable::narrow(result, 3, 0, width);
  Tensor padding = torch::stable::narrow(result, 3, width, padded - width);
  torch::stable::copy_(cells, features);
  torch::stable::zero_(padding);
  return result;
}

// The inputs in the form that the kernels of the device read. Owns the memory that they point to.
class CheckedInputs : public Inputs {
 public:
  CheckedInputs(const Tensor& mask_features, const Tensor& params, const Tensor& locations,
                const Tensor& image_indices, const Tensor& sizes_of_interest, const Options& options)
      : Inputs{}, type_(accumulator_type(mask_features)) {
    check_inputs(mask_features, params, locations, image_indices, sizes_of_interest, options);
    if (on_cuda(mask_features)) {
      check_cuda_sizes(mask_features, options);
    }
    features_ = on_cuda(mask_features) ? dense(mask_features, type_) : padded_features(mask_features, type_);
    params_ = dense(params, type_);
    locations_ = dense(locations, type_);
    image_indices_ = dense(image_indices);
    sizes_ = dense(sizes_of_interest, type_);
    if (!on_cuda(mask_features)) {
      check_index_range("image_indices", image_indices_, mask_features.size(0));
    }

    network = checked_network(mask_features, options);
    features = features_.const_data_ptr();
    this->params = params_.const_data_ptr();
    this->locations = locations_.const_data_ptr();
    this->image_indices = static_cast<const int64_t*>(image_indices_.const_data_ptr());
    sizes = sizes_.const_data_ptr();
    num_images = mask_features.size(0);
    num_instances = params.size(0);
    row_stride = features_.size(3);
    map_channels = static_cast<int>(mask_features.size(1));
    height = static_cast<int>(mask_features.size(2));
    width = static_cast<int>(mask_features.size(3));
    feature_stride = static_cast<int>(options.feature_stride);
    factor = static_cast<int>(options.upsample_factor);
    wide = type_ == ScalarType::Double;
  }
  CheckedInputs(const CheckedInputs&) = delete;

  ScalarType accumulator() const { return type_; }
  // The features in the accumulator type. Results and scratch memory are allocated like them.
  const Tensor& feature_tensor() const { return features_; }

 private:
  ScalarType type_;
  Tensor features_, params_, locations_, image_indices_, sizes_;
};

}  // namespace condinst::mask_network
