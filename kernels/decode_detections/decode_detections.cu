#include "../common/cuda_launch.h"
#include "../common/cuda_numeric.h"
#include "decode_detections_cuda.h"

namespace condinst::decode_detections::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBins = 256;

// The key that is the `rank`-th smallest (from 1) of `count` keys, or a number between it and the next one. All threads of
// the block must call it, with a barrier after what they wrote to `keys`; there is one at the end.
static __device__ uint64_t ranked_key(const uint64_t* keys, int64_t count, int64_t rank) {
  __shared__ int bins[kBins];
  __shared__ int chosen_bin;
  __shared__ int before_chosen;
  const int thread = static_cast<int>(threadIdx.x);
  uint64_t prefix = 0;
  uint64_t known = 0;  // bits that `prefix` contains
  for (int shift = 56; shift >= 0; shift -= 8) {
    bins[thread] = 0;
    __syncthreads();
    for (int64_t i = thread; i < count; i += kThreads) {
      if ((keys[i] & known) == prefix) {
        atomicAdd(&bins[keys[i] >> shift & (kBins - 1)], 1);
      }
    }
    __syncthreads();
    if (thread < 32) {
      constexpr int own_bins = kBins / 32;
      int own = 0;
      for (int i = 0; i < own_bins; ++i) {
        own += bins[own_bins * thread + i];
      }
      int before = own;
      for (int lanes = 1; lanes < 32; lanes *= 2) {
        const int others = __shfl_up_sync(0xffffffffu, before, lanes);
        before += thread >= lanes ? others : 0;
      }
      before -= own;
      if (rank > before && rank <= before + own) {
        int bin = own_bins * thread;
        while (rank > before + bins[bin]) {
          before += bins[bin++];
        }
        chosen_bin = bin;
        before_chosen = before;
      }
    }
    __syncthreads();
    prefix |= static_cast<uint64_t>(chosen_bin) << shift;
    known |= static_cast<uint64_t>(kBins - 1) << shift;
    rank -= before_chosen;
    const bool is_last = rank == bins[chosen_bin];
    __syncthreads();
    if (is_last) {
      break;  // all keys that begin with the prefix
    }
  }
  return prefix | ~known;
}

// One block per band: it lists the candidates, and adds the best of them to the list of the level.
template <class Logit>
__global__ void __launch_bounds__(kThreads) collect(Args args, Lists lists, Bars bars) {
  __shared__ uint64_t candidates[kBandElements];
  __shared__ int num_candidates;
  __shared__ int taken;
  __shared__ int32_t place;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t image = blockIdx.x / args.bands;
  const int64_t band = blockIdx.x - image * args.bands;
  const int level_index = level_of_band(args, band);
  const Level level = args.levels[level_index];
  const int64_t location = image * args.num_locations + level.first_location;
  const Logit* logits = static_cast<const Logit*>(args.class_logits) + location * args.num_classes;
  const int64_t begin = (band - level.first_band) * kBandElements;
  const int64_t end = min(begin + kBandElements, level.cells * args.num_classes);
  if (thread == 0) {
    num_candidates = 0;
    taken = 0;
  }
  __syncthreads();

  const auto look_at = [&](Logit logit, int64_t index) {
    const float x = widen<float>(logit);
    if (x >= bars.logit) {
      const float centerness = sigmoid(args.centerness_logits[location + index / args.num_classes]);
      float score;
      if (is_candidate(args, sigmoid(x), centerness, &score)) {
        candidates[atomicAdd(&num_candidates, 1)] = key_of(score, index);
      }
    }
  };
  constexpr int pack_size = kPackCount<Logit>;
  for (int64_t index = begin + pack_size * thread; index < end; index += pack_size * kThreads) {
    const bool whole = index + pack_size <= end && is_aligned<pack_size>(logits + index);
    const auto pack = whole ? load_pack<pack_size>(logits + index) : load_some<pack_size>(logits + index, end - index);
    for (int i = 0; i < pack_size && index + i < end; ++i) {
      look_at(pack.values[i], index + i);
    }
  }
  __syncthreads();

  const int64_t wanted = min(static_cast<int64_t>(num_candidates), args.top_k);
  const uint64_t worst = num_candidates > wanted ? ranked_key(candidates, num_candidates, wanted) : ~uint64_t{0};
  if (thread == 0 && wanted > 0) {
    place = atomicAdd(lists.counts + image * args.num_levels + level_index, static_cast<int32_t>(wanted));
  }
  __syncthreads();
  uint64_t* keys = lists.keys + (image * args.bands + level.first_band) * lists.band_capacity;
  for (int i = thread; i < num_candidates; i += kThreads) {
    if (candidates[i] <= worst) {
      keys[place + atomicAdd(&taken, 1)] = candidates[i];
    }
  }
}

// One block per level of an image: copies the best candidates of its list to `selected`.
__global__ void __launch_bounds__(kThreads) select(Args args, Lists lists) {
  __shared__ int taken;
  const int64_t image = blockIdx.x / args.num_levels;
  const Level level = args.levels[blockIdx.x - image * args.num_levels];
  const uint64_t* keys = lists.keys + (image * args.bands + level.first_band) * lists.band_capacity;
  uint64_t* selected = lists.selected + image * args.places + level.first_place;
  const int64_t count = lists.counts[blockIdx.x];
  if (threadIdx.x == 0) {
    taken = 0;
  }
  __syncthreads();
  const uint64_t worst = count > args.top_k ? ranked_key(keys, count, args.top_k) : ~uint64_t{0};
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    if (keys[i] <= worst) {
      selected[atomicAdd(&taken, 1)] = keys[i];
    }
  }
}

// One block per `kThreads` places of an image. The index of a selected candidate decides its place, so the order of the
// list does not matter.
__global__ void __launch_bounds__(kThreads) write(Args args, Lists lists, int64_t blocks_per_image) {
  __shared__ int64_t tile[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t image = blockIdx.x / blocks_per_image;
  const int64_t first = (blockIdx.x - image * blocks_per_image) * kThreads;
  const int64_t place = first + thread;
  const uint64_t* selected = lists.selected + image * args.places;

  int64_t total = 0;
  for (int i = 0; i < args.num_levels; ++i) {
    const Level& level = args.levels[i];
    const int64_t count = min(static_cast<int64_t>(lists.counts[image * args.num_levels + i]), args.top_k);
    if (first < level.first_place + level.places && first + kThreads > level.first_place) {
      // the block has places of this level
      const bool own = place >= level.first_place && place < level.first_place + count;
      const uint64_t key = own ? selected[place] : 0;
      int64_t rank = 0;
      for (int64_t start = 0; start < count; start += kThreads) {
        const int64_t size = min(static_cast<int64_t>(kThreads), count - start);
        if (thread < size) {
          tile[thread] = index_of(selected[level.first_place + start + thread]);
        }
        __syncthreads();
        for (int64_t other = 0; own && other < size; ++other) {
          rank += tile[other] < index_of(key) ? 1 : 0;
        }
        __syncthreads();
      }
      if (own) {
        write_candidate(args, image, level, key, total + rank);
      }
    }
    total += count;
  }
  if (place >= total && place < args.places) {
    write_free(args, image, place);
  }
  if (place == 0) {
    args.counts[image] = total;
  }
}

}  // namespace

void decode(const Args& args, const Lists& lists, void* stream) {
  if (args.num_images == 0 || args.places == 0) {
    return;
  }
  with_element_type(args.logits_type, [&](auto logit) {
    using Logit = decltype(logit);
    if constexpr (!std::is_same_v<Logit, uint8_t> && !std::is_same_v<Logit, double>) {
      launch("decode_detections collect", collect<Logit>, grid_size(args.num_images * args.bands), kThreads, 0, stream,
             args, lists, bars_of(args, 0));
    }
  });
  launch("decode_detections select", select, grid_size(args.num_images * args.num_levels), kThreads, 0, stream, args,
         lists);
  const int64_t blocks_per_image = (args.places + kThreads - 1) / kThreads;
  launch("decode_detections write", write, grid_size(args.num_images * blocks_per_image), kThreads, 0, stream, args,
         lists, blocks_per_image);
}

}  // namespace condinst::decode_detections::cuda
