// The CUDA kernel of select_top_locations, as a function that launches it on a stream (a cudaStream_t of the current
// device) and returns at once. It throws std::runtime_error if CUDA rejects a launch.
#pragma once

#include "select_top_locations.h"

namespace condinst::select_top_locations::cuda {

// Fills counts, starts, keys and selected.
void select(const Args& args, void* stream);

}  // namespace condinst::select_top_locations::cuda
