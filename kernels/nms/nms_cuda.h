// The CUDA kernel of nms, as a function that launches it on a stream (a cudaStream_t of the current device) and returns at
// once. It throws std::runtime_error if CUDA rejects a launch.
#pragma once

#include "../suppression/suppression_cuda.h"
#include "nms.h"

namespace condinst::nms::cuda {

// Fills Sorted::removed, of `count` candidates.
void suppress(const Args& args, const suppression::cuda::Sorted& sorted, int64_t count, void* stream);

}  // namespace condinst::nms::cuda
