// Backward of dynamic_mask_head and dynamic_mask_loss, which differ only in the kernel: instances grouped by image, scratch
// memory, and the gradients that are returned.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <numeric>
#include <tuple>
#include <vector>

#include "../kernels/mask_network/mask_network_cuda.h"
#include "mask_network_inputs.h"

namespace condinst::mask_network {

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

// Calls run(begin, end, scratch) on ranges of tasks, each with separate scratch memory.
template <class F>
void parallel_tasks(int64_t tasks, int64_t scratch_bytes, const F& run) {
  torch::stable::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    Scratch scratch(scratch_bytes);
    run(begin, end, scratch.get());
  });
}

// Scratch memory of one range of the forward tasks of head and loss.
inline int64_t forward_scratch_bytes(const Inputs& inputs) { return CONDINST_CPU_KERNEL(forward_scratch)(inputs); }

// Instances whose parameter gradients are summed at a time: so the scratch memory for the partial sums of bands does not
// grow with the number of instances.
constexpr int64_t kInstancesAtATime = 128;

// Backward of head and loss, except the kernel: run(groups, begin, end, scratch) computes tasks [begin, end). -> gradients
// of mask_features [B, C, H, W] and params [K, P], in their dtype
template <class F>
std::tuple<Tensor, Tensor> backward_cpu(const CheckedInputs& inputs, ScalarType type, const F& run) {
  const int64_t num_params = inputs.network.num_params();
  Tensor grad_features = torch::stable::new_zeros(
      inputs.feature_tensor(), {inputs.num_images, inputs.map_channels, inputs.height, inputs.row_stride});
  const Tensor grad_params = torch::stable::new_zeros(inputs.feature_tensor(), {inputs.num_instances, num_params});
  if (!is_empty(inputs)) {
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
        torch::stable::new_empty(inputs.feature_tensor(), {bands_of(inputs.height), at_a_time, num_params});
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

// Scratch memory on the device of the inputs.
inline Tensor cuda_scratch(const CheckedInputs& inputs, int64_t bytes) {
  return torch::stable::new_empty(inputs.feature_tensor(), {bytes}, ScalarType::Byte);
}

// The same on CUDA: run(grad_features, grad_params, scratch, stream) launches the kernels.
template <class Run>
std::tuple<Tensor, Tensor> backward_cuda(const CheckedInputs& inputs, ScalarType type, const Run& run) {
  const Tensor grad_features = torch::stable::new_empty(
      inputs.feature_tensor(), {inputs.num_images, inputs.map_channels, inputs.height, inputs.width});
  const Tensor grad_params =
      torch::stable::new_empty(inputs.feature_tensor(), {inputs.num_instances, inputs.network.num_params()});
  const Tensor scratch = cuda_scratch(inputs, cuda::backward_scratch_bytes(inputs));
  on_current_stream(inputs.feature_tensor(), [&](void* stream) {
    run(grad_features.mutable_data_ptr(), grad_params.mutable_data_ptr(), scratch.mutable_data_ptr(), stream);
  });
  return {dense(grad_features, type), dense(grad_params, type)};
}

}  // namespace condinst::mask_network
