// The CUDA kernel of sigmoid_focal_loss, as a function that launches it on a stream (a cudaStream_t of the current device)
// and returns at once. It throws std::runtime_error if CUDA rejects a launch.
#pragma once

#include "sigmoid_focal_loss.h"

namespace condinst::sigmoid_focal_loss::cuda {

// LossResults::chunk. It is the same on every GPU, so that the result is the same.
constexpr int64_t kChunk = 4096;

// Fills the results that are not null.
void losses(const Args& args, void* stream);

}  // namespace condinst::sigmoid_focal_loss::cuda
