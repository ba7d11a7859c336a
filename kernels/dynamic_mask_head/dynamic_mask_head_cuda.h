// The CUDA kernels of dynamic_mask_head, as functions that launch them on a stream (a cudaStream_t of the current device)
// and return at once. They throw std::runtime_error when CUDA does not take a launch.
#pragma once

#include "../common/element_type.h"
#include "mask_inputs_cuda.h"

namespace condinst::dynamic_mask_head::cuda {

// Fills logits [num_instances, height * factor, width * factor] of `type`.
void forward(const Inputs& inputs, void* logits, ElementType type, void* stream);

// Bytes of scratch memory that backward needs, of dynamic_mask_head and of dynamic_mask_loss.
int64_t backward_scratch_bytes(const Inputs& inputs);

// Fills grad_features [num_images, map_channels, height, width] and grad_params [num_instances, num_params], both Acc, from
// grad_logits [num_instances, height * factor, width * factor] of `type`.
void backward(const Inputs& inputs, const void* grad_logits, ElementType type, void* grad_features, void* grad_params,
              void* scratch, void* stream);

}  // namespace condinst::dynamic_mask_head::cuda
