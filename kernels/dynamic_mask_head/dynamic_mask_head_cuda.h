// The CUDA kernels of dynamic_mask_head, as functions that launch them on a stream (a cudaStream_t of the current device)
// and return at once. They throw std::runtime_error if CUDA rejects a launch.
#pragma once

#include "../common/element_type.h"
#include "../mask_network/inputs.h"

namespace condinst::dynamic_mask_head::cuda {

using mask_network::Inputs;

// Fills logits [num_instances, height * factor, width * factor] of `type`.
void forward(const Inputs& inputs, void* logits, ElementType type, void* stream);

// Fills grad_features [num_images, map_channels, height, width] and grad_params [num_instances, num_params], both Acc, from
// grad_logits [num_instances, height * factor, width * factor] of `type`. The scratch memory is that of
// mask_network_cuda.h.
void backward(const Inputs& inputs, const void* grad_logits, ElementType type, void* grad_features, void* grad_params,
              void* scratch, void* stream);

}  // namespace condinst::dynamic_mask_head::cuda
