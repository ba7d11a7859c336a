#include "../common/cuda_launch.h"
#include "../mask_pairs/mask_pairs_cuda.h"
#include "../suppression/keys_cuda.h"
#include "mask_nms_cuda.h"

#include <algorithm>

namespace condinst::mask_nms::cuda {
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
constexpr int kHalves = static_cast<int>(kTile) / kWarp;  // a lane has a column of each half of a tile
constexpr int64_t kGroupBlocks = 1024;                    // the most blocks: each processes several groups in turn

// The data of a candidate that a pair test needs.
struct Item {
  Key key;
  Summary summary;
};

static __device__ __forceinline__ Item load_item(const Args& args, const Sorted& sorted, int64_t place) {
  Item item{{kNoCandidate, 0, 0}, {0, 0, 0}};
  if (place < args.masks.count) {
    item.key = sorted.keys[place];
    item.summary = args.masks.summaries[candidate_of(item.key)];
  }
  return item;
}

// Whether the better candidate may remove the other, judged by their summaries.
static __device__ __forceinline__ bool may_remove(const Args& args, const Item& better, const Item& other) {
  const Range range = common(better.summary, other.summary);
  return range.begin < range.end && better.key.image != kNoCandidate && is_same_group(better.key, other.key) &&
         may_exceed(args.iou_threshold, better.summary, other.summary);
}

// Block (row of tiles, column of tiles): 64 x 64 pairs. The lanes of a warp check 32 columns at a time; the warp counts the
// words of the pairs that need it, one after the other.
__global__ void __launch_bounds__(kThreads) find_pairs(Args args, Sorted sorted, Rivals* rivals) {
  const int64_t tiles = words_of_row(args.masks.count);
  const int64_t row_tile = blockIdx.x / tiles;
  const int64_t column_tile = blockIdx.x - row_tile * tiles;
  if (column_tile < row_tile) {
    return;  // uniform over the block
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  Item columns[kHalves];
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    columns[half] = load_item(args, sorted, column_tile * kTile + half * kWarp + lane);
  }
  for (int64_t row = row_tile * kTile + threadIdx.x / kWarp; row < min((row_tile + 1) * kTile, args.masks.count);
       row += kWarps) {
    const Item better = load_item(args, sorted, row);
    const uint64_t* bits = bits_of(args.masks, candidate_of(better.key));
    uint64_t word = 0;
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int64_t first = column_tile * kTile + half * kWarp;
      const bool wanted = first + lane > row && may_remove(args, better, columns[half]);
      for (unsigned lanes = __ballot_sync(kAllLanes, wanted); lanes != 0; lanes &= lanes - 1) {
        const int column = __ffs(static_cast<int>(lanes)) - 1;
        const int64_t candidate = candidate_of(sorted.keys[first + column]);
        const Summary summary = args.masks.summaries[candidate];
        const int64_t overlap =
            mask_pairs::warp_intersection(bits, bits_of(args.masks, candidate), common(better.summary, summary));
        if (iou(overlap, better.summary, summary) > args.iou_threshold) {
          word |= uint64_t{1} << (half * kWarp + column);
        }
      }
    }
    if (lane == 0) {
      rivals[row * tiles + column_tile] = word;
    }
  }
}

// The place after the last candidate of the group that begins at `begin`.
__device__ __forceinline__ int64_t group_end(const Sorted& sorted, int64_t begin, int64_t count) {
  const Key first = sorted.keys[begin];
  int64_t low = begin + 1, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (is_same_group(sorted.keys[middle], first)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// A block processes a group tile by tile: one thread decides the candidates of the tile, then each thread ORs a column over
// the rows of the survivors.
__global__ void __launch_bounds__(kThreads) settle(Args args, Sorted sorted, const Rivals* rivals) {
  __shared__ uint64_t within[kTile];  // the rivals within the tile
  __shared__ bool gone[kTile];        // removed by an earlier tile, or of another group
  __shared__ int64_t survivors[kTile];
  __shared__ int num_survivors;

  const int64_t count = args.masks.count;
  const int64_t row_words = words_of_row(count);
  const int thread = static_cast<int>(threadIdx.x);
  for (int32_t group = static_cast<int32_t>(blockIdx.x); group < *sorted.num_groups;
       group += static_cast<int32_t>(gridDim.x)) {
    const int64_t begin = sorted.groups[group];
    const int64_t end = group_end(sorted, begin, count);
    for (int64_t tile = begin / kTile; tile * kTile < end; ++tile) {
      if (thread < kTile) {
        const int64_t place = tile * kTile + thread;
        gone[thread] = place < begin || place >= end || sorted.removed[place] != 0;
        within[thread] = gone[thread] ? 0 : rivals[place * row_words + tile];
      }
      __syncthreads();
      if (thread == 0) {
        uint64_t removed = 0;
        int kept = 0;
        for (int candidate = 0; candidate < kTile; ++candidate) {
          if (gone[candidate]) {
            continue;
          }
          const int64_t place = tile * kTile + candidate;
          if ((removed >> candidate & 1) != 0) {
            sorted.removed[place] = 1;
          } else {
            survivors[kept++] = place;
            removed |= within[candidate];
          }
        }
        num_survivors = kept;
      }
      __syncthreads();
      for (int64_t word = tile + 1 + thread; word * kTile < end; word += kThreads) {
        uint64_t removed = 0;
        for (int i = 0; i < num_survivors; ++i) {
          removed |= rivals[survivors[i] * row_words + word];
        }
        for (; removed != 0; removed &= removed - 1) {
          sorted.removed[word * kTile + __ffsll(static_cast<long long>(removed)) - 1] = 1;
        }
      }
      __syncthreads();  // before the next tile reads `removed` and reuses the shared memory
    }
  }
}

}  // namespace

void summarize(const Args& args, void* stream) { mask_pairs::launch_summarize_masks(args.masks, stream); }

void find_rivals(const Args& args, const Sorted& sorted, Rivals* rivals, void* stream) {
  const int64_t tiles = words_of_row(args.masks.count);
  if (tiles > 0) {
    launch("mask_nms find_pairs", find_pairs, grid_size(tiles * tiles), kThreads, 0, stream, args, sorted, rivals);
  }
}

void settle_groups(const Args& args, const Sorted& sorted, const Rivals* rivals, void* stream) {
  if (args.masks.count > 0) {
    launch("mask_nms settle", settle, grid_size(std::min(args.masks.count, kGroupBlocks)), kThreads, 0, stream, args,
           sorted, rivals);
  }
}

}  // namespace condinst::mask_nms::cuda
