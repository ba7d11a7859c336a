// The CUDA kernels of dice_loss, as functions that launch them on a stream (a cudaStream_t of the current device) and
// return at once. They throw std::runtime_error if CUDA rejects a launch.
#pragma once

#include "dice_loss.h"

namespace condinst::dice_loss::cuda {

// Args::chunk. It is small, so that a single mask occupies every multiprocessor. It is the same on every GPU, so that the
// result is the same.
constexpr int64_t kChunk = 4096;

// Fills partial, losses and sums.
void forward(const Args& args, void* stream);

// Fills grad_masks.
void backward(const Args& args, void* stream);

}  // namespace condinst::dice_loss::cuda
