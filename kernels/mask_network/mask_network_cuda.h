// The scratch memory of the CUDA kernels of dynamic_mask_head and dynamic_mask_loss.
#pragma once

#include "inputs.h"

namespace condinst::mask_network::cuda {

// Bytes of scratch memory that backward needs, of dynamic_mask_head and of dynamic_mask_loss.
int64_t backward_scratch_bytes(const Inputs& inputs);

}  // namespace condinst::mask_network::cuda
