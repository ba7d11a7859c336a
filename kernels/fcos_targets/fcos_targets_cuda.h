// The CUDA kernel of fcos_targets, as a function that launches it on a stream (a cudaStream_t of the current device) and
// returns at once. It throws std::runtime_error if CUDA rejects a launch.
#pragma once

#include "fcos_targets.h"

namespace condinst::fcos_targets::cuda {

// Fills all locations of all images.
void targets(const Args& args, void* stream);

}  // namespace condinst::fcos_targets::cuda
