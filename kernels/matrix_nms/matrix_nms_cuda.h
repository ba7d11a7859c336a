// The CUDA kernels of matrix_nms, as functions that launch them on a stream (a cudaStream_t of the current device) and
// return at once: summarize; then, for each pass, columns and factors. They throw std::runtime_error if CUDA rejects a
// launch.
#pragma once

#include "../suppression/suppression_cuda.h"
#include "matrix_nms.h"

namespace condinst::matrix_nms::cuda {

constexpr int64_t kPassColumns = 1024;  // a block each: enough for every multiprocessor

void summarize(const Args& args, void* stream);

// Fills ious and highest.
void columns(const Args& args, const suppression::cuda::Sorted& sorted, const Pass& pass, void* stream);

// Fills decayed.
void factors(const Args& args, const suppression::cuda::Sorted& sorted, const Pass& pass, void* stream);

}  // namespace condinst::matrix_nms::cuda
