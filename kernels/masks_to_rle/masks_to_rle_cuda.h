// The CUDA kernels of masks_to_rle, in two phases, as functions that launch them on a stream (a cudaStream_t of the current
// device) and return at once. They throw std::runtime_error if CUDA rejects the launch. The tables of `args` are on the
// device.
#pragma once

#include "../resampling/resampling.h"

namespace condinst::masks_to_rle::cuda {

// The number of bands of columns of a mask, which are independent of each other.
int64_t band_count(const resampling::Args& args);

// Counts the changes of each band and adds them up: starts [count * band_count + 1], from 0 to the number of all changes.
// offsets [count + 1] are the same for whole masks.
void count(const resampling::Args& args, int64_t* starts, int64_t* offsets, void* stream);

// Writes the positions [last entry of starts] of the changes, column-major within a mask, ascending.
void write(const resampling::Args& args, const int64_t* starts, int32_t* positions, void* stream);

}  // namespace condinst::masks_to_rle::cuda
