// The inputs that dynamic_mask_head and dynamic_mask_loss share: checks, conversion, instances grouped by image.
// condinst/ops checks what users give; these checks are the second fence, for callers of torch.ops.condinst.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "../kernels/dynamic_mask_head/dynamic_mask_head_cpu.h"
#include "dense.h"
#include "element_type.h"
#include "sizes.h"

namespace condinst::dynamic_mask_head {

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

inline void check_mask_head_inputs(const Tensor& mask_features, const Tensor& params, const Tensor& locations,
                                   const Tensor& image_indices, const Tensor& sizes_of_interest,
                                   const Options& options) {
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

// The arguments as the CPU kernels read them. Owns what `inputs` points to.
class CpuInputs {
 public:
  CpuInputs(const Tensor& mask_features, const Tensor& params, const Tensor& locations, const Tensor& image_indices,
            const Tensor& sizes_of_interest, const Options& options)
      : type_(accumulator_type(mask_features)) {
    check_mask_head_inputs(mask_features, params, locations, image_indices, sizes_of_interest, options);
    for (const Tensor* tensor : {&mask_features, &params, &locations, &image_indices, &sizes_of_interest}) {
      STD_TORCH_CHECK(tensor->is_cpu(), "dynamic mask head: expected CPU tensors");
    }
    features_ = padded_features(mask_features, type_);
    params_ = dense(params, type_);
    locations_ = dense(locations, type_);
    image_indices_ = dense(image_indices);
    sizes_ = dense(sizes_of_interest, type_);
    check_index_range("image_indices", image_indices_, mask_features.size(0));

    inputs.features = features_.const_data_ptr();
    inputs.params = params_.const_data_ptr();
    inputs.locations = locations_.const_data_ptr();
    inputs.sizes = sizes_.const_data_ptr();
    inputs.image_indices = static_cast<const int64_t*>(image_indices_.const_data_ptr());
    inputs.wide = type_ == ScalarType::Double;
    inputs.network = checked_network(mask_features, options);
    inputs.num_images = mask_features.size(0);
    inputs.num_instances = params.size(0);
    inputs.feature_channels = mask_features.size(1);
    inputs.height = mask_features.size(2);
    inputs.width = mask_features.size(3);
    inputs.row_stride = padded_width(inputs.width);
    inputs.feature_stride = options.feature_stride;
    inputs.factor = static_cast<int>(options.upsample_factor);
  }
  CpuInputs(const CpuInputs&) = delete;

  ScalarType accumulator() const { return type_; }
  bool has_cells() const { return inputs.height > 0 && inputs.width > 0; }
  const Tensor& features() const { return features_; }
  const Tensor& params() const { return params_; }

  Inputs inputs{};

 private:
  ScalarType type_;
  Tensor features_, params_, locations_, image_indices_, sizes_;
};

// Memory of `bytes` bytes, aligned to a cache line.
class Scratch {
 public:
  explicit Scratch(int64_t bytes) : memory_(static_cast<size_t>(bytes) + 64) {}
  void* get() {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return memory_.data() + (64 - address % 64) % 64;
  }

 private:
  std::vector<char> memory_;
};

// Calls run(begin, end, scratch) on ranges of tasks, each with scratch memory of its own.
template <class F>
void parallel_tasks(int64_t tasks, int64_t scratch_bytes, const F& run) {
  torch::stable::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    Scratch scratch(scratch_bytes);
    run(begin, end, scratch.get());
  });
}

// Scratch memory of one range of the forward tasks of head and loss.
inline int64_t forward_scratch_bytes(const Inputs& inputs) { return CONDINST_CPU_KERNEL(forward_scratch)(inputs); }

// Instances whose parameter gradients are summed at a time: the scratch memory for the bands' partial sums does not
// grow with their number.
constexpr int64_t kInstancesAtATime = 128;

// Backward of head and loss, but for the kernel: run(groups, begin, end, scratch) does tasks [begin, end).
// -> gradients of mask_features [B, C, H, W] and params [K, P], in their dtype
template <class F>
std::tuple<Tensor, Tensor> backward_cpu(const CpuInputs& given, ScalarType type, const F& run) {
  const Inputs& inputs = given.inputs;
  Tensor grad_features = torch::stable::new_zeros(
      given.features(), {inputs.num_images, inputs.feature_channels, inputs.height, inputs.row_stride});
  const Tensor grad_params = torch::stable::new_zeros(given.params(), {inputs.num_instances, given.params().size(1)});
  if (given.has_cells() && inputs.num_instances > 0) {
    // a counting sort by image
    std::vector<int64_t> image_start(static_cast<size_t>(inputs.num_images) + 1);
    for (int64_t k = 0; k < inputs.num_instances; ++k) {
      ++image_start[inputs.image_indices[k] + 1];
    }
    std::partial_sum(image_start.begin(), image_start.end(), image_start.begin());
    std::vector<int64_t> order(static_cast<size_t>(inputs.num_instances));
    std::vector<int64_t> next(image_start.begin(), image_start.end());
    for (int64_t k = 0; k < inputs.num_instances; ++k) {
      order[next[inputs.image_indices[k]]++] = k;
    }

    const int64_t at_a_time = std::min(kInstancesAtATime, inputs.num_instances);
    const Tensor partial =
        torch::stable::new_empty(given.params(), {bands_of(inputs.height), at_a_time, given.params().size(1)});
    Groups groups{order.data(), image_start.data(), 0, 0, grad_features.mutable_data_ptr(), partial.mutable_data_ptr()};
    const int64_t scratch_bytes = CONDINST_CPU_KERNEL(backward_scratch)(inputs);
    for (; groups.begin < inputs.num_instances; groups.begin = groups.end) {
      groups.end = std::min(groups.begin + at_a_time, inputs.num_instances);
      parallel_tasks(backward_task_count(inputs), scratch_bytes,
                     [&](int64_t begin, int64_t end, void* scratch) { run(groups, begin, end, scratch); });
      torch::stable::parallel_for(groups.begin, groups.end, 16, [&](int64_t begin, int64_t end) {
        CONDINST_CPU_KERNEL(add_bands)(inputs, groups, begin, end, grad_params.mutable_data_ptr());
      });
    }
  }
  if (inputs.row_stride != inputs.width) {
    grad_features = torch::stable::narrow(grad_features, 3, 0, inputs.width);
  }
  return {dense(grad_features, type), dense(grad_params, type)};
}

}  // namespace condinst::dynamic_mask_head
