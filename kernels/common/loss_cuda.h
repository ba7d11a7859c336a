// Code that the CUDA kernels of losses share: the sum of a block, and of all blocks.
#pragma once

#include "cuda_launch.h"
#include "cuda_reduce.h"
#include "loss.h"

namespace condinst {

constexpr int kLossThreads = 256;

// Writes the sum of the losses of a block, unless it is not requested. All threads of the block must call it, once. A
// single block writes the result, so that small losses need only one launch.
template <class Acc>
static __device__ __forceinline__ void write_sum(const LossResults& results, Acc sum) {
  if (results.sum == nullptr) {
    return;
  }
  Acc sums[1] = {sum};
  block_sum<kLossThreads>(sums);
  if (threadIdx.x == 0) {
    if (gridDim.x == 1) {
      *static_cast<Acc*>(results.sum) = sums[0];
    } else {
      results.partial[blockIdx.x] = sums[0];
    }
  }
}

// One block: adds up the chunks.
template <class Acc>
static __global__ void __launch_bounds__(kLossThreads) sum_of_chunks(LossResults results) {
  const int64_t chunks = task_count(results);
  double sums[1] = {};
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kLossThreads) {
    sums[0] += results.partial[chunk];
  }
  block_sum<kLossThreads>(sums);
  if (threadIdx.x == 0) {
    *static_cast<Acc*>(results.sum) = static_cast<Acc>(sums[0]);
  }
}

// Launches a kernel with a block per chunk, and adds up the sums of several chunks.
template <class Acc, class Args>
static inline void launch_loss(const char* name, void (*kernel)(Args), const Args& args, void* stream) {
  const LossResults& results = args.results;
  const int64_t chunks = task_count(results);
  if (chunks > 0) {
    launch(name, kernel, grid_size(chunks), kLossThreads, 0, stream, args);
  }
  if (results.sum != nullptr && chunks != 1) {
    launch("sum_of_chunks", sum_of_chunks<Acc>, 1, kLossThreads, 0, stream, results);
  }
}

}  // namespace condinst
