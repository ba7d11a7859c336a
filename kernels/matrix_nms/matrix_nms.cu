#include "../common/cuda_launch.h"
#include "../mask_pairs/mask_pairs_cuda.h"
#include "../suppression/keys_cuda.h"
#include "matrix_nms_cuda.h"

namespace condinst::matrix_nms::cuda {
namespace {

using mask_pairs::kAllLanes;
using mask_pairs::kWarp;
using mask_pairs::Range;
using mask_pairs::Summary;
using suppression::cuda::candidate_of;
using suppression::cuda::is_same_group;
using suppression::cuda::Key;
using suppression::cuda::kNoCandidate;
using suppression::cuda::Sorted;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// The place of the best candidate of the group.
__device__ __forceinline__ int64_t group_start(const Sorted& sorted, int64_t place) {
  const Key own = sorted.keys[place];
  int64_t low = 0, high = place;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (is_same_group(sorted.keys[middle], own)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// fold(a, fold(b, ...)) of the values of all threads, in thread 0. For a block of kThreads, at most once in a kernel.
template <class Fold>
__device__ __forceinline__ float fold_block(float value, const Fold& fold) {
  __shared__ float of_warps[kWarps];
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    value = fold(value, __shfl_xor_sync(kAllLanes, value, lanes));
  }
  if (threadIdx.x % kWarp == 0) {
    of_warps[threadIdx.x / kWarp] = value;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kWarps; ++warp) {
      value = fold(value, of_warps[warp]);
    }
  }
  return value;
}

// One block per column. The lanes of a warp check 32 rows at a time; the warp counts the words of the masks that can
// overlap the mask of the column, one after the other.
__global__ void __launch_bounds__(kThreads) fill_columns(Args args, Sorted sorted, Pass pass) {
  const int64_t column = pass.begin + blockIdx.x;
  const Key key = sorted.keys[column];
  if (key.image == kNoCandidate) {
    return;  // uniform over the block
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t start = group_start(sorted, column);
  const Summary own = args.masks.summaries[candidate_of(key)];
  const uint64_t* bits = bits_of(args.masks, candidate_of(key));
  float* ious = pass.ious + static_cast<int64_t>(blockIdx.x) * pass.stride;
  float highest = 0;
  for (int64_t first = start + threadIdx.x / kWarp * kWarp; first < column; first += kThreads) {
    const int64_t row = first + lane;
    const int64_t candidate = row < column ? candidate_of(sorted.keys[row]) : 0;
    const Summary summary = row < column ? args.masks.summaries[candidate] : Summary{0, 0, 0};
    const Range range = common(own, summary);
    float iou = 0;
    for (unsigned lanes = __ballot_sync(kAllLanes, range.begin < range.end); lanes != 0; lanes &= lanes - 1) {
      const int source = __ffs(static_cast<int>(lanes)) - 1;
      const Range words{__shfl_sync(kAllLanes, range.begin, source), __shfl_sync(kAllLanes, range.end, source)};
      const int64_t better = __shfl_sync(kAllLanes, candidate, source);
      const int64_t overlap = mask_pairs::warp_intersection(bits, bits_of(args.masks, better), words);
      if (lane == source) {
        iou = iou_or_zero(overlap, own, summary);
      }
    }
    if (row < column) {
      ious[row - start] = iou;
      highest = max(highest, iou);
    }
  }
  highest = fold_block(highest, [](float a, float b) { return max(a, b); });
  if (threadIdx.x == 0) {
    pass.highest[column] = highest;
  }
}

// One block per column.
__global__ void __launch_bounds__(kThreads) apply_factors(Args args, Sorted sorted, Pass pass) {
  const int64_t column = pass.begin + blockIdx.x;
  const Key key = sorted.keys[column];
  if (key.image == kNoCandidate) {
    return;  // uniform over the block
  }
  const int64_t start = group_start(sorted, column);
  const float* ious = pass.ious + static_cast<int64_t>(blockIdx.x) * pass.stride;
  float least = no_decay(args);
  for (int64_t row = start + threadIdx.x; row < column; row += kThreads) {
    least = min(least, decay(args, ious[row - start], pass.highest[row]));
  }
  least = fold_block(least, [](float a, float b) { return min(a, b); });
  if (threadIdx.x == 0) {
    const int64_t candidate = candidate_of(key);
    args.decayed[candidate] = args.scores[candidate] * factor(args, least);
  }
}

}  // namespace

void summarize(const Args& args, void* stream) { mask_pairs::launch_summarize_masks(args.masks, stream); }

void columns(const Args& args, const Sorted& sorted, const Pass& pass, void* stream) {
  launch("matrix_nms fill_columns", fill_columns, grid_size(pass.end - pass.begin), kThreads, 0, stream, args, sorted,
         pass);
}

void factors(const Args& args, const Sorted& sorted, const Pass& pass, void* stream) {
  launch("matrix_nms apply_factors", apply_factors, grid_size(pass.end - pass.begin), kThreads, 0, stream, args, sorted,
         pass);
}

}  // namespace condinst::matrix_nms::cuda
