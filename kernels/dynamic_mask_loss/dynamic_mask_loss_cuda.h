// The CUDA kernels of dynamic_mask_loss, as functions that launch them on a stream (a cudaStream_t of the current device)
// and return at once. They throw std::runtime_error when CUDA does not take a launch.
#pragma once

#include "../dynamic_mask_head/mask_inputs_cuda.h"

namespace condinst::dynamic_mask_loss::cuda {

using dynamic_mask_head::cuda::Inputs;

struct Targets {
  const uint8_t* masks;     // [num_targets, height * factor, width * factor], 0 and 1
  const int64_t* indices;   // [num_instances]; those out of range give NaN
  int64_t num_targets;
};

// Bytes of scratch memory that forward needs.
int64_t forward_scratch_bytes(const Inputs& inputs);

// Fills losses [num_instances] and sums [num_instances, 2] (overlap; total, eps included), both Acc.
void forward(const Inputs& inputs, const Targets& targets, double eps, void* losses, void* sums, void* scratch,
             void* stream);

// Fills grad_features and grad_params as dynamic_mask_head's backward does, from grad_losses [num_instances] and sums, both
// Acc. The scratch memory is that of dynamic_mask_head's backward, too.
void backward(const Inputs& inputs, const Targets& targets, const void* grad_losses, const void* sums,
              void* grad_features, void* grad_params, void* scratch, void* stream);

}  // namespace condinst::dynamic_mask_loss::cuda
