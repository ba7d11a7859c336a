// Computes the tables of both axes on the GPU, so that nothing is copied to it and a call can be part of a CUDA graph.
#pragma once

#include "resampling.h"

namespace condinst::resampling::cuda {

// Fills both tables [table_size] on a stream (a cudaStream_t of the current device) and returns at once. Throws
// std::runtime_error if CUDA rejects the launch.
void fill_tables(const Scale& rows, int32_t* of_rows, const Scale& columns, int32_t* of_columns, void* stream);

}  // namespace condinst::resampling::cuda
