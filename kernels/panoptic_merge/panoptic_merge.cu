#include "../common/cuda_launch.h"
#include "../common/cuda_reduce.h"
#include "../resampling/lines_cuda.h"
#include "panoptic_merge_cuda.h"

// Atomics only add whole numbers, so that no result depends on the order. The only step in which instances wait for each
// other is done by one block per image, which reads the bits of each mask.
namespace condinst::panoptic_merge::cuda {
namespace {

using namespace resampling;

constexpr int kThreads = 256;
constexpr int kSettleThreads = 1024;
constexpr int kWordBits = 64;

__global__ void copy_image(Image* to, Image image) { *to = image; }

// A thread per instance: computes its place among the candidates of its image.
__global__ void __launch_bounds__(kThreads) rank_instances(Args args, Scratch scratch) {
  const int64_t instance = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (instance >= args.num_instances || !is_candidate(args, instance)) {
    return;
  }
  const int64_t image = args.image_indices[instance];
  int64_t rank = 0;
  for (int64_t other = 0; other < args.num_instances; ++other) {
    rank += args.image_indices[other] == image && is_candidate(args, other) && comes_before(args, other, instance);
  }
  scratch.ranked[image * args.num_instances + rank] = static_cast<int32_t>(instance);
  atomicAdd(scratch.counts + image, 1);
}

// One block per band of an instance: writes its bits and their number.
template <class T>
__global__ void __launch_bounds__(kThreads) draw_bands(Args args, Scratch scratch, int64_t num_bands, int rows) {
  const int64_t instance = blockIdx.x / num_bands;
  const int64_t band = blockIdx.x - instance * num_bands;
  if (!is_candidate(args, instance)) {
    return;  // uniform over the block
  }
  const Image& image = args.images[args.image_indices[instance]];
  const Bounds<true> bounds(args.mask_threshold);
  const View view{image.mask_rows, image.mask_columns, args.mask_width, 1};
  const LineTile tile = line_tile(view.along, rows);
  const T* logits = static_cast<const T*>(args.mask_logits) + instance * args.mask_height * args.mask_width;
  const int lane = threadIdx.x % kWarp;
  const int64_t band_end = min((band + 1) * kBandRows, int64_t{view.across.pixels});
  int area[1] = {0};
  for (int64_t begin = band * kBandRows; begin < band_end; begin += rows) {
    const int64_t end = min(begin + rows, band_end);
    __syncthreads();  // all threads have read the tile of the previous rows
    fill_tile<kThreads, true>(view, logits, begin, end, bounds.low, tile);
    const int64_t halves = 2 * args.words;  // 32 pixels each
    for (int64_t task = threadIdx.x / kWarp; task < (end - begin) * halves; task += kThreads / kWarp) {
      const int row = static_cast<int>(task / halves);
      const int64_t half = task - row * halves;
      const int64_t pixel = half * kWarp + lane;
      unsigned bits = 0;
      if (half * kWarp < view.along.pixels) {
        const int64_t last = min((half + 1) * kWarp, int64_t{view.along.pixels}) - 1;
        const bool empty = side_of(view.along, tile.above + row * tile.words(), static_cast<int>(half * kWarp),
                                   static_cast<int>(last)) == Side::below;
        const bool above = !empty && pixel <= last &&
                           pixel_above<true>(view.along, tile.cells + row * tile.pitch, pixel, bounds.threshold);
        bits = __ballot_sync(kAllLanes, above);
      }
      if (lane == 0) {
        reinterpret_cast<uint32_t*>(bits_of(args, instance, begin + row))[half] = bits;
        area[0] += __popc(bits);
      }
    }
  }
  block_sum<kThreads>(area);
  if (threadIdx.x == 0) {
    scratch.band_areas[instance * num_bands + band] = area[0];
  }
}

// Calls f(y, word) for each word of an instance that may have bits. A thread gets the same words of every instance, so that
// its updates of the taken pixels need no barrier.
template <class F>
static __device__ __forceinline__ void for_words(const Args& args, const int32_t* band_areas, int64_t num_bands,
                                                 int64_t image_rows, const F& f) {
  const int lane = threadIdx.x % kWarp;
  for (int64_t band = threadIdx.x / kWarp; band < num_bands; band += kSettleThreads / kWarp) {
    const int64_t first = band * kBandRows;
    if (first < image_rows && band_areas[band] > 0) {
      const int64_t count = (min(first + kBandRows, image_rows) - first) * args.words;
      for (int64_t begin = 0; begin < count; begin += kWarp) {  // all lanes take part, because of the shuffles
        const int64_t at = begin + lane;
        const int64_t row = at / args.words;
        f(first + row, at - row * args.words, at < count);
      }
    }
  }
}

// One block per image: instances take their pixels in order.
__global__ void __launch_bounds__(kSettleThreads) settle_images(Args args, Scratch scratch, int64_t num_bands) {
  __shared__ int sums[2][2];  // area and pixels lost, of this instance and of the next
  const int64_t image = blockIdx.x;
  const int64_t rows = args.images[image].mask_rows.pixels;
  if (threadIdx.x < 4) {
    sums[threadIdx.x / 2][threadIdx.x % 2] = 0;
  }
  __syncthreads();
  for (int rank = 0; rank < scratch.counts[image]; ++rank) {
    const int64_t instance = scratch.ranked[image * args.num_instances + rank];
    const int32_t* band_areas = scratch.band_areas + instance * num_bands;
    int area = 0, lost = 0;
    for (int64_t band = threadIdx.x; band * kBandRows < rows; band += kSettleThreads) {
      area += band_areas[band];
    }
    for_words(args, band_areas, num_bands, rows, [&](int64_t y, int64_t word, bool exists) {
      if (exists) {
        lost += __popcll(bits_of(args, instance, y)[word] & taken_of(args, image, y)[word]);
      }
    });
    area = warp_sum(area);
    lost = warp_sum(lost);
    int* sum = sums[rank % 2];
    if (threadIdx.x % kWarp == 0) {
      atomicAdd(sum, area);
      atomicAdd(sum + 1, lost);
    }
    __syncthreads();
    area = sum[0];
    lost = sum[1];
    if (threadIdx.x < 2) {
      sums[(rank + 1) % 2][threadIdx.x] = 0;  // all threads have read it, because they have passed the barrier
    }
    if (is_kept(args, area, lost)) {
      if (threadIdx.x == 0) {
        args.instance_areas[instance] = area - lost;
      }
      for_words(args, band_areas, num_bands, rows, [&](int64_t y, int64_t word, bool exists) {
        uint64_t free = 0;
        if (exists) {
          uint64_t* taken = taken_of(args, image, y) + word;
          free = bits_of(args, instance, y)[word] & ~*taken;
          *taken |= free;
        }
        // The warp writes the ids of its words one after the other.
        for (unsigned left = __ballot_sync(kAllLanes, free != 0); left != 0; left &= left - 1) {
          const int source = __ffs(static_cast<int>(left)) - 1;
          const uint64_t bits = __shfl_sync(kAllLanes, free, source);
          const int64_t pixel = __shfl_sync(kAllLanes, y * args.width + word * kWordBits, source);
          int32_t* ids = args.ids + image * args.height * args.width + pixel;
          for (int bit = threadIdx.x % kWarp; bit < kWordBits; bit += kWarp) {
            if ((bits >> bit & 1) != 0) {
              ids[bit] = static_cast<int32_t>(1 + instance);
            }
          }
        }
      });
    }
    __syncthreads();  // the sums for the next instance are 0
  }
}

// A thread per semantic cell: finds the leading channel.
template <class T>
__global__ void __launch_bounds__(kThreads) find_leaders(Args args, Scratch scratch) {
  const int64_t cells = args.semantic_height * args.semantic_width;
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= args.num_images * cells) {
    return;
  }
  const int64_t image = index / cells;
  const T* logits =
      static_cast<const T*>(args.semantic_logits) + image * args.num_channels * cells + (index - image * cells);
  float best = -HUGE_VALF, second = -HUGE_VALF, largest = 0;
  int32_t leader = 0;
  for (int64_t channel = 0; channel < args.num_channels; ++channel) {
    const float logit = semantic_logit(widen<float>(logits[channel * cells]));
    const bool is_best = logit > best;
    second = max(second, is_best ? best : logit);
    best = is_best ? logit : best;
    leader = is_best ? static_cast<int32_t>(channel) : leader;
    largest = max(largest, fabsf(logit));
  }
  scratch.channels[index] = leads(best, second, largest) ? leader : kUnsure;
}

// The class of a pixel.
template <class T>
static __device__ __forceinline__ int32_t channel_of(const Args& args, const Scratch& scratch, int64_t image,
                                                     int64_t y, int64_t x) {
  const Axis& rows = args.images[image].semantic_rows;
  const Axis& columns = args.images[image].semantic_columns;
  const int64_t cells = args.semantic_height * args.semantic_width;
  int64_t offsets[kTaps][kTaps];  // after the last cell the weight is 0, so any cell is valid
#pragma unroll
  for (int row = 0; row < kTaps; ++row) {
#pragma unroll
    for (int column = 0; column < kTaps; ++column) {
      offsets[row][column] = min(rows.first[y] + row, rows.cells - 1) * args.semantic_width +
                             min(columns.first[x] + column, columns.cells - 1);
    }
  }
  const int32_t* channels = scratch.channels + image * cells;
  const int32_t leader = channels[offsets[0][0]];
  bool agree = leader != kUnsure;
#pragma unroll
  for (int tap = 1; tap < kTaps * kTaps; ++tap) {
    agree = agree && channels[offsets[tap / kTaps][tap % kTaps]] == leader;
  }
  if (agree) {
    return leader;
  }
  const T* logits = static_cast<const T*>(args.semantic_logits) + image * args.num_channels * cells;
  float best = -HUGE_VALF;
  int32_t winner = 0;
  for (int32_t channel = 0; channel < args.num_channels; ++channel) {
    float lines[kTaps];
#pragma unroll
    for (int column = 0; column < kTaps; ++column) {
      float taps[kTaps];
#pragma unroll
      for (int row = 0; row < kTaps; ++row) {
        taps[row] = semantic_logit(widen<float>(logits[channel * cells + offsets[row][column]]));
      }
      lines[column] = weighted_sum<true>(rows.weights + y, rows.pixels, taps);
    }
    const float value = weighted_sum<true>(columns.weights + x, columns.pixels, lines);
    winner = value > best ? channel : winner;
    best = value > best ? value : best;
  }
  return winner;
}

// One block per `kThreads` pixels of a row: writes ids at pixels without an instance.
template <class T>
__global__ void __launch_bounds__(kThreads) paint_stuff(Args args, Scratch scratch, int64_t blocks_of_row) {
  const int64_t row = blockIdx.x / blocks_of_row;
  const int64_t x = (blockIdx.x - row * blocks_of_row) * kThreads + threadIdx.x;
  const int64_t image = row / args.height;
  const int64_t y = row - image * args.height;
  const Image& here = args.images[image];
  int32_t channel = kUnsure;
  if (x < args.width) {
    const bool is_inside = y < here.semantic_rows.pixels && x < here.semantic_columns.pixels;
    const bool is_taken = is_inside && (taken_of(args, image, y)[x / kWordBits] >> (x % kWordBits) & 1) != 0;
    if (is_inside && !is_taken) {
      channel = channel_of<T>(args, scratch, image, y, x);
    }
    if (!is_taken) {
      args.ids[row * args.width + x] = id_of_channel(args, channel);
    }
  }
  // A single addition for a warp whose pixels have the same class, which is the usual case.
  const int32_t of_first = __shfl_sync(kAllLanes, channel, 0);
  const bool is_uniform = __all_sync(kAllLanes, channel == of_first);
  const int64_t num_stuff = args.num_channels - args.num_things;
  if (channel >= args.num_things && (!is_uniform || threadIdx.x % kWarp == 0)) {
    auto* areas = reinterpret_cast<unsigned long long*>(args.stuff_areas + image * num_stuff);
    atomicAdd(areas + (channel - args.num_things), static_cast<unsigned long long>(is_uniform ? kWarp : 1));
  }
}

// A thread per pixel: stuff below the limit becomes void.
__global__ void __launch_bounds__(kThreads) erase_stuff(Args args) {
  const int64_t pixels = args.height * args.width;
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= args.num_images * pixels) {
    return;
  }
  const int64_t stuff = args.ids[index] - 1 - args.num_instances;
  if (stuff >= 0 &&
      args.stuff_areas[index / pixels * (args.num_channels - args.num_things) + stuff] < args.stuff_area_limit) {
    args.ids[index] = 0;
  }
}

// After erase_stuff.
__global__ void __launch_bounds__(kThreads) erase_areas(Args args) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index < args.num_images * (args.num_channels - args.num_things) &&
      args.stuff_areas[index] < args.stuff_area_limit) {
    args.stuff_areas[index] = 0;
  }
}

unsigned blocks_for(int64_t threads) { return grid_size((threads + kThreads - 1) / kThreads); }

void take_instances(const Args& args, const Scratch& scratch, void* stream) {
  if (args.num_instances == 0) {
    return;
  }
  launch("panoptic_merge rank_instances", rank_instances, blocks_for(args.num_instances), kThreads, 0, stream, args,
         scratch);
  Axis along{};
  along.cells = static_cast<int32_t>(args.mask_width);
  const int64_t line = LineTile::bytes_of_line(along);
  const int64_t rows = std::clamp<int64_t>(kSharedBytes / line, 1, kBandRows);
  const int64_t bands = num_bands(args);
  with_logit_type(args.mask_type, [&](auto element) {
    launch("panoptic_merge draw_bands", draw_bands<decltype(element)>, grid_size(args.num_instances * bands), kThreads,
           static_cast<size_t>(rows * line), stream, args, scratch, bands, static_cast<int>(rows));
  });
  launch("panoptic_merge settle_images", settle_images, grid_size(args.num_images), kSettleThreads, 0, stream, args,
         scratch, bands);
}

}  // namespace

void set_image(Image* to, const Image& image, void* stream) {
  launch("panoptic_merge copy_image", copy_image, 1, 1, 0, stream, to, image);
}

void merge(const Args& args, const Scratch& scratch, void* stream) {
  take_instances(args, scratch, stream);
  const int64_t blocks_of_row = (args.width + kThreads - 1) / kThreads;
  with_logit_type(args.semantic_type, [&](auto element) {
    using T = decltype(element);
    launch("panoptic_merge find_leaders", find_leaders<T>,
           blocks_for(args.num_images * args.semantic_height * args.semantic_width), kThreads, 0, stream, args,
           scratch);
    launch("panoptic_merge paint_stuff", paint_stuff<T>, grid_size(args.num_images * args.height * blocks_of_row),
           kThreads, 0, stream, args, scratch, blocks_of_row);
  });
  if (args.num_channels > args.num_things) {
    launch("panoptic_merge erase_stuff", erase_stuff, blocks_for(args.num_images * args.height * args.width), kThreads,
           0, stream, args);
    launch("panoptic_merge erase_areas", erase_areas,
           blocks_for(args.num_images * (args.num_channels - args.num_things)), kThreads, 0, stream, args);
  }
}

}  // namespace condinst::panoptic_merge::cuda
