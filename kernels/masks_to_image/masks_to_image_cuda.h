// The CUDA kernels of masks_to_image, as a function that launches them on a stream (a cudaStream_t of the current device)
// and returns at once. Throws std::runtime_error if CUDA rejects the launch.
#pragma once

#include "../resampling/resampling.h"

namespace condinst::masks_to_image::cuda {

// Fills masks [count, rows.pixels, columns.pixels] with 0 and 1. The tables of `args` are on the device.
void resize(const resampling::Args& args, uint8_t* masks, void* stream);

}  // namespace condinst::masks_to_image::cuda
