// The CUDA kernels of dynamic_mask_loss, as functions that launch them on a stream (a cudaStream_t of the current device)
// and return at once. They throw std::runtime_error if CUDA rejects a launch.
#pragma once

#include "../mask_network/inputs.h"
#include "dynamic_mask_loss.h"

namespace condinst::dynamic_mask_loss::cuda {

using mask_network::Inputs;

// Bytes of scratch memory that forward needs.
int64_t forward_scratch_bytes(const Inputs& inputs);

// Fills losses [num_instances] and sums [num_instances, 2] (overlap; total, eps included), both Acc.
void forward(const Inputs& inputs, const Targets& targets, double eps, void* losses, void* sums, void* scratch,
             void* stream);

// Fills grad_features [num_images, map_channels, height, width] and grad_params [num_instances, num_params] from
// grad_losses [num_instances] and sums, all Acc. The scratch memory is that of mask_network_cuda.h.
void backward(const Inputs& inputs, const Targets& targets, const void* grad_losses, const void* sums,
              void* grad_features, void* grad_params, void* scratch, void* stream);

}  // namespace condinst::dynamic_mask_loss::cuda
