// The CUDA kernel of pack_masks, as a function that launches it on a stream (a cudaStream_t of the current device) and
// returns at once. Throws std::runtime_error if CUDA rejects the launch.
#pragma once

#include "pack_masks.h"

namespace condinst::pack_masks::cuda {

// Fills words.
void pack(const Args& args, void* stream);

}  // namespace condinst::pack_masks::cuda
