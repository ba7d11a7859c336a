// The CUDA kernels of mask_centers, as a function that launches them on a stream (a cudaStream_t of the current device) and
// returns at once. It throws std::runtime_error if CUDA rejects a launch.
#pragma once

#include "mask_centers.h"

namespace condinst::mask_centers::cuda {

constexpr int64_t kBandPixels = 16384;  // for Args::rows_per_band

// Fills partial and centers.
void centers(const Args& args, void* stream);

}  // namespace condinst::mask_centers::cuda
