#include "../common/cuda_launch.h"
#include "keys_cuda.h"
#include "suppression_cuda.h"

#include <algorithm>
#include <utility>

namespace condinst::suppression::cuda {
namespace {

constexpr int kThreads = 256;

// The number of runs of sorted keys that a pass merges into one run. Their searches are independent.
constexpr int kFanIn = 8;

// The keys before suppression.
struct AllCandidates {
  Args args;
  __device__ Key operator()(int64_t index) const {
    const bool candidate = is_candidate(args, index);
    const uint64_t score = candidate ? falling(args.scores[index]) : 0;
    return {candidate ? static_cast<uint64_t>(args.image_indices[index]) : kNoCandidate,
            candidate ? static_cast<uint64_t>(args.labels[index]) : 0, score << 32 | static_cast<uint64_t>(index)};
  }
};

// The keys of the survivors, without labels: those of each image by falling score.
struct Survivors {
  const Key* keys;
  const uint8_t* removed;
  __device__ Key operator()(int64_t place) const {
    const Key key = keys[place];
    return {removed[place] != 0 ? kNoCandidate : key.image, 0, key.score_and_index};
  }
};

// A block computes `kThreads` keys and sorts them: the rank of a key is the number of smaller keys.
template <class MakeKey>
__global__ void __launch_bounds__(kThreads) sort_tiles(MakeKey make_key, Key* sorted, int64_t count) {
  __shared__ Key tile[kThreads];
  const int64_t start = static_cast<int64_t>(blockIdx.x) * kThreads;
  const int size = static_cast<int>(min(static_cast<int64_t>(kThreads), count - start));
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < size) {
    tile[thread] = make_key(start + thread);
  }
  __syncthreads();
  if (thread < size) {
    const Key own = tile[thread];
    int rank = 0;
    for (int other = 0; other < size; ++other) {
      rank += is_before(tile[other], own) ? 1 : 0;
    }
    sorted[start + rank] = own;
  }
}

// Merges runs of `length` sorted keys, `kFanIn` at a time: the place of a key is the sum of its ranks in the runs.
__global__ void __launch_bounds__(kThreads) merge_runs(const Key* runs, Key* merged, int64_t count, int64_t length) {
  const int64_t place = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (place >= count) {
    return;
  }
  const Key own = runs[place];
  const int64_t first = place / (kFanIn * length) * (kFanIn * length);
  int64_t longest_step = 1;
  while (2 * longest_step <= length) {
    longest_step *= 2;
  }
  int64_t ranks[kFanIn] = {};
  for (int64_t step = longest_step; step > 0; step /= 2) {
#pragma unroll
    for (int run = 0; run < kFanIn; ++run) {
      const int64_t start = first + run * length;
      const int64_t size = min(length, count - start);  // negative for missing runs
      if (ranks[run] + step <= size && is_before(runs[start + ranks[run] + step - 1], own)) {
        ranks[run] += step;
      }
    }
  }
  int64_t rank = 0;
#pragma unroll
  for (int run = 0; run < kFanIn; ++run) {
    rank += ranks[run];
  }
  merged[first + rank] = own;
}

// Merges the sorted tiles of `sorted.spare` into `sorted.keys`.
void merge_tiles(int64_t count, Sorted& sorted, void* stream) {
  std::swap(sorted.keys, sorted.spare);
  for (int64_t length = kThreads; length < count; length *= kFanIn) {
    launch("suppression merge_runs", merge_runs, grid_size((count + kThreads - 1) / kThreads), kThreads, 0, stream,
           sorted.keys, sorted.spare, count, length);
    std::swap(sorted.keys, sorted.spare);
  }
}

__global__ void reset_groups(int32_t* num_groups) { *num_groups = 0; }

// Lists the starts of groups. The order of the list differs from run to run, but groups are independent.
__global__ void __launch_bounds__(kThreads) find_groups(Sorted sorted, int64_t count) {
  const int64_t place = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (place >= count) {
    return;
  }
  sorted.removed[place] = 0;
  const Key key = sorted.keys[place];
  if (key.image != kNoCandidate && (place == 0 || !is_same_group(key, sorted.keys[place - 1]))) {
    sorted.groups[atomicAdd(sorted.num_groups, 1)] = static_cast<int32_t>(place);
  }
}

// One block per `kThreads` columns of an image.
__global__ void __launch_bounds__(kThreads) best_of_images(Args args, const Key* keys, int64_t blocks_per_image) {
  const int64_t image = blockIdx.x / blocks_per_image;
  const int64_t rank = (blockIdx.x - image * blocks_per_image) * kThreads + threadIdx.x;
  int64_t first = 0;
  for (int64_t end = args.num_candidates; first < end;) {
    const int64_t middle = (first + end) / 2;
    if (keys[middle].image < static_cast<uint64_t>(image)) {
      first = middle + 1;
    } else {
      end = middle;
    }
  }
  const auto is_taken = [&](int64_t rank) {
    const int64_t place = first + rank;
    if (place >= args.num_candidates || keys[place].image != static_cast<uint64_t>(image)) {
      return false;
    }
    const bool is_late = args.max_detections > 0 && rank >= args.max_detections;
    const int64_t last = is_late ? first + args.max_detections - 1 : place;
    return is_among_best(args, rank, args.scores[candidate_of(keys[place])], args.scores[candidate_of(keys[last])]);
  };
  const bool taken = is_taken(rank);
  if (rank < args.capacity) {
    args.indices[image * args.capacity + rank] = taken ? candidate_of(keys[first + rank]) : -1;
  }
  if (taken ? !is_taken(rank + 1) : rank == 0) {
    args.counts[image] = taken ? rank + 1 : 0;
  }
}

}  // namespace

void sort_candidates(const Args& args, Sorted& sorted, void* stream) {
  const int64_t count = args.num_candidates;
  launch("suppression reset_groups", reset_groups, 1, 1, 0, stream, sorted.num_groups);
  if (count == 0) {
    return;
  }
  const unsigned blocks = grid_size((count + kThreads - 1) / kThreads);
  launch("suppression sort_tiles", sort_tiles<AllCandidates>, blocks, kThreads, 0, stream, AllCandidates{args},
         sorted.spare, count);
  merge_tiles(count, sorted, stream);
  launch("suppression find_groups", find_groups, blocks, kThreads, 0, stream, sorted, count);
}

void write_best(const Args& args, Sorted& sorted, void* stream) {
  const int64_t count = args.num_candidates;
  if (count > 0) {
    launch("suppression sort_tiles", sort_tiles<Survivors>, grid_size((count + kThreads - 1) / kThreads), kThreads, 0,
           stream, Survivors{sorted.keys, sorted.removed}, sorted.spare, count);
    merge_tiles(count, sorted, stream);
  }
  if (args.num_images > 0) {
    // one block if there are no columns, because it writes the count
    const int64_t blocks_per_image = std::max<int64_t>((args.capacity + kThreads - 1) / kThreads, 1);
    launch("suppression best_of_images", best_of_images, grid_size(args.num_images * blocks_per_image), kThreads, 0,
           stream, args, sorted.keys, blocks_per_image);
  }
}

}  // namespace condinst::suppression::cuda
