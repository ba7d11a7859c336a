// Population counts of packed masks by whole warps.
#pragma once

#include "../common/cuda_launch.h"
#include "../common/cuda_reduce.h"
#include "mask_pairs.h"

namespace condinst::mask_pairs {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// The number of pixels that both masks have in the range of words, in every lane. All lanes must call it with the same
// arguments.
static __device__ __forceinline__ int64_t warp_intersection(const uint64_t* one, const uint64_t* other, Range range) {
  int64_t count = 0;
  for (int64_t i = range.begin + threadIdx.x % kWarp; i < range.end; i += kWarp) {
    count += __popcll(one[i] & other[i]);
  }
  return warp_sum(count);
}

// One warp per mask: fills the summaries.
template <int threads>
__global__ void __launch_bounds__(threads) summarize_masks(Masks masks) {
  const int64_t mask = static_cast<int64_t>(blockIdx.x) * (threads / kWarp) + threadIdx.x / kWarp;
  if (mask >= masks.count) {
    return;  // uniform over the warp, and no barrier follows
  }
  const uint64_t* bits = bits_of(masks, mask);
  int64_t area = 0, first = masks.words, last = 0;
  for (int64_t i = threadIdx.x % kWarp; i < masks.words; i += kWarp) {
    if (bits[i] != 0) {
      area += __popcll(bits[i]);
      first = min(first, i);
      last = i;
    }
  }
  area = warp_sum(area);
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    first = min(first, __shfl_xor_sync(kAllLanes, first, lanes));
    last = max(last, __shfl_xor_sync(kAllLanes, last, lanes));
  }
  if (threadIdx.x % kWarp == 0) {
    masks.summaries[mask] = make_summary(area, first, last, masks.words);
  }
}

static inline void launch_summarize_masks(const Masks& masks, void* stream) {
  constexpr int threads = 256;
  if (masks.count > 0) {
    launch("mask_pairs summarize_masks", summarize_masks<threads>,
           grid_size((masks.count + threads / kWarp - 1) / (threads / kWarp)), threads, 0, stream, masks);
  }
}

}  // namespace condinst::mask_pairs
