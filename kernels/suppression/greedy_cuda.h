// Greedy suppression within groups on CUDA, for any test of a pair.
#pragma once

#include <algorithm>

#include "../common/cuda_numeric.h"
#include "keys_cuda.h"

namespace condinst::suppression::cuda {

constexpr int kGreedyThreads = 256;
constexpr int kTile = 64;                          // candidates that are decided at a time
constexpr int kParts = kGreedyThreads / kTile;     // threads that share a row of the tile's pairs
constexpr int kPartners = kTile / kParts;          // pairs of such a thread
constexpr int64_t kGreedyBlocks = 1024;            // the most blocks: each processes several groups in turn

// A block decides a group tile by tile: it tests the pairs within the tile, one thread then decides the candidates of the
// tile, and all threads test the rest of the group against the survivors of the tile. Pairs, copied to every thread, has
//
//   Item                                           the data of a candidate for a pair test; plain data
//   Item load(int64_t candidate) const
//   bool suppresses(const Item& better, const Item& other) const
template <class Pairs>
__global__ void __launch_bounds__(kGreedyThreads) suppress_groups(Sorted sorted, int64_t count, Pairs pairs) {
  using Item = typename Pairs::Item;
  __shared__ Item items[kTile];
  __shared__ bool alive[kTile];
  __shared__ Pack<uint16_t, kParts> suppressed[kTile];  // bits of the other candidates of the tile that it removes
  __shared__ int survivors[kTile];
  __shared__ int num_survivors;
  static_assert(kPartners == 16, "the bits of a part");

  const int thread = static_cast<int>(threadIdx.x);
  const int32_t num_groups = *sorted.num_groups;
  for (int32_t group = static_cast<int32_t>(blockIdx.x); group < num_groups; group += gridDim.x) {
    int64_t tile = sorted.groups[group];
    const Key first = sorted.keys[tile];
    for (; tile < count && is_same_group(sorted.keys[tile], first); tile += kTile) {
      if (thread < kTile) {
        const int64_t place = tile + thread;
        alive[thread] = place < count && is_same_group(sorted.keys[place], first) && sorted.removed[place] == 0;
        if (alive[thread]) {
          items[thread] = pairs.load(candidate_of(sorted.keys[place]));
        }
      }
      __syncthreads();

      const int row = thread % kTile;
      const int part = thread / kTile;
      unsigned bits = 0;
      for (int i = 0; i < kPartners; ++i) {
        const int partner = part * kPartners + i;
        if (partner > row && alive[row] && alive[partner] && pairs.suppresses(items[row], items[partner])) {
          bits |= 1u << i;
        }
      }
      suppressed[row].values[part] = static_cast<uint16_t>(bits);
      __syncthreads();

      if (thread == 0) {
        uint64_t gone = 0;
        int kept = 0;
        for (int candidate = 0; candidate < kTile; ++candidate) {
          if (alive[candidate] && (gone >> candidate & 1) == 0) {
            survivors[kept++] = candidate;
            const Pack<uint16_t, kParts> parts = suppressed[candidate];
            for (int i = 0; i < kParts; ++i) {
              gone |= static_cast<uint64_t>(parts.values[i]) << (kPartners * i);
            }
          }
        }
        num_survivors = kept;
        for (int candidate = 0; candidate < kTile; ++candidate) {
          if ((gone >> candidate & 1) != 0) {
            sorted.removed[tile + candidate] = 1;
          }
        }
      }
      __syncthreads();

      for (int64_t place = tile + kTile + thread; place < count; place += kGreedyThreads) {
        const Key key = sorted.keys[place];
        if (!is_same_group(key, first)) {
          break;
        }
        if (sorted.removed[place] == 0) {
          const Item other = pairs.load(candidate_of(key));
          bool gone = false;
          for (int i = 0; i < num_survivors && !gone; ++i) {
            gone = pairs.suppresses(items[survivors[i]], other);
          }
          if (gone) {
            sorted.removed[place] = 1;
          }
        }
      }
      __syncthreads();  // before the next tile reads `removed` and reuses the shared memory
    }
  }
}

// Fills `removed`. `name` is for messages.
template <class Pairs>
static inline void launch_suppress_groups(const char* name, const Sorted& sorted, int64_t count, const Pairs& pairs,
                                          void* stream) {
  if (count > 0) {
    launch(name, suppress_groups<Pairs>, grid_size(std::min(count, kGreedyBlocks)), kGreedyThreads, 0, stream, sorted,
           count, pairs);
  }
}

}  // namespace condinst::suppression::cuda
