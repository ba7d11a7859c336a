// Sums over the threads of a block, in a fixed order.
#pragma once

#include "cuda_launch.h"

namespace condinst {

template <class T>
static __device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, lanes);
  }
  return value;
}

// The sum of each of the `count` values over the block, in thread 0; the results of other threads are meaningless. All
// `threads` threads of a one-dimensional block must call it, at most once in a kernel (there is no barrier at the end).
template <int threads, int count, class T>
static __device__ __forceinline__ void block_sum(T (&values)[count]) {
  static_assert(threads % 32 == 0, "whole warps");
  constexpr int warps = threads / 32;
  __shared__ T of_warps[warps][count];
#pragma unroll
  for (int i = 0; i < count; ++i) {
    values[i] = warp_sum(values[i]);
    if (threadIdx.x % 32 == 0) {
      of_warps[threadIdx.x / 32][i] = values[i];
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < warps; ++warp) {
      for (int i = 0; i < count; ++i) {
        values[i] += of_warps[warp][i];
      }
    }
  }
}

}  // namespace condinst
