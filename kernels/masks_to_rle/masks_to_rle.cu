#include "../common/cuda_launch.h"
#include "../common/cuda_reduce.h"
#include "../resampling/lines_cuda.h"
#include "masks_to_rle_cuda.h"

// No array of image size is read or written. 100 masks of 200 x 272 cells are 22 MB of logits, which `count` reads in
// pieces of rows of about 40 bytes, and `write` reads again, from the cache, for blocks that have changes. Both are bound
// by arithmetic: combining cells into lines takes about 30 million warp instructions, 40 us on an H100. Finding the changes
// takes about 10 us if masks are constant almost everywhere, and 200 us if all 87 million pixels are next to a boundary.
// With 10 us for the sums and 30 us for sending a megabyte of changes to the host, 100 instances should take 0.2 ms. These
// are estimates for an H100. An H200 takes longer: docs/measurements_gpu.md.
namespace condinst::masks_to_rle::cuda {
namespace {

using namespace resampling;

constexpr int kThreads = 256;
constexpr int kColumns = 32;  // of a block, if they fit

// Calls visit(number of previous changes, y, 32 bits: bit i says that pixel y + i differs from the pixel before it) for a
// column of pixels, by a whole warp. `line` is the line of the column in the tile; the previous column, if there is one,
// has line - 1.
template <class Visit>
__device__ __forceinline__ int for_each_change(const Axis& along, const LineTile& tile, int line, bool is_first,
                                               float threshold, const Visit& visit) {
  const int lane = threadIdx.x % kWarp;
  const uint32_t* above = tile.above + line * tile.words();
  const float* cells = tile.cells + line * tile.pitch;
  int low = tile.words();  // words with cells above the threshold
  int high = -1;
  for (int word = 0; word < tile.words(); word += kWarp) {
    const unsigned lanes = __ballot_sync(kAllLanes, word + lane < tile.words() && above[word + lane] != 0);
    if (lanes != 0) {
      low = min(low, word + __ffs(static_cast<int>(lanes)) - 1);
      high = word + kWarp - 1 - __clz(static_cast<int>(lanes));
    }
  }
  // Pixels that depend on such a cell; all others are background.
  const int begin = high < 0 ? 0 : along.begin[max(low * kWarp - (kTaps - 1), 0)];
  const int end = high < 0 ? 0 : along.begin[min((high + 1) * kWarp, along.cells)];

  int count = 0;
  unsigned value = !is_first && pixel_above(along, cells - tile.pitch, along.pixels - 1, threshold);
  if (value != 0 && (begin > 0 || end == 0)) {
    visit(count++, 0, 1u);
    value = 0;
  }
  for (int y = begin; y < end; y += kWarp) {
    const int size = min(kWarp, end - y);
    const Side side = side_of(along, above, y, y + size - 1);
    unsigned bits = side == Side::above ? kAllLanes : 0;
    if (side == Side::mixed) {  // uniform over the warp
      bits = __ballot_sync(kAllLanes, lane < size && pixel_above(along, cells, y + lane, threshold));
    }
    const unsigned changes = (bits ^ (bits << 1 | value)) & (kAllLanes >> (kWarp - size));
    if (changes != 0) {
      visit(count, y, changes);
    }
    count += __popc(changes);
    value = bits >> (size - 1) & 1;
  }
  if (value != 0 && end < along.pixels) {
    visit(count++, end, 1u);
  }
  return count;
}

// One block per `columns` columns of pixels of a mask, one warp for each of these.
//
//   starts     [count * columns.pixels + 1] the number of changes of each column, out, if `positions` is null;
//              otherwise the begin of the changes of each column in it
//   positions  of the changes, out, or null
template <class T>
__global__ void __launch_bounds__(kThreads) find_changes(Args args, int columns, int64_t blocks_of_mask,
                                                         int64_t* starts, int32_t* positions) {
  const View view{args.columns, args.rows, 1, args.columns.cells};
  const int lane = threadIdx.x % kWarp;
  const int64_t mask = blockIdx.x / blocks_of_mask;
  const int64_t begin = (blockIdx.x - mask * blocks_of_mask) * columns;
  const int64_t end = min(begin + columns, int64_t{args.columns.pixels});
  starts += mask * args.columns.pixels;
  if (positions != nullptr && starts[begin] == starts[end]) {
    return;  // uniform over the block
  }
  const int64_t before = begin == 0 ? 0 : 1;  // the first pixel is compared with the last pixel of the previous column
  const LineTile tile = line_tile(view.along, columns + 1);
  const T* logits = static_cast<const T*>(args.logits) + mask * args.rows.cells * args.columns.cells;
  fill_tile<kThreads>(view, logits, begin - before, end, args.threshold, tile);

  for (int64_t column = begin + threadIdx.x / kWarp; column < end; column += kThreads / kWarp) {
    const int line = static_cast<int>(column - begin + before);
    if (positions == nullptr) {
      const int count =
          for_each_change(view.along, tile, line, column == 0, args.threshold, [](int, int, unsigned) {});
      if (lane == 0) {
        starts[column] = count;
      }
    } else if (starts[column] < starts[column + 1]) {
      int32_t* to = positions + starts[column];
      const int32_t first = static_cast<int32_t>(column * args.rows.pixels);
      for_each_change(view.along, tile, line, column == 0, args.threshold, [&](int count, int y, unsigned changes) {
        if (changes >> lane & 1) {
          to[count + __popc(changes & ((1u << lane) - 1))] = first + y + lane;
        }
      });
    }
  }
}

// Replaces each value by `start` plus the sum of the previous values, and returns `start` plus the sum of all values. All
// threads of the block must call it.
__device__ __forceinline__ int64_t add_up(int64_t* values, int64_t count, int64_t start) {
  constexpr int warps = kThreads / kWarp;
  __shared__ int64_t of_warps[warps];
  const int lane = threadIdx.x % kWarp;
  for (int64_t first = 0; first < count; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const int64_t own = i < count ? values[i] : 0;
    int64_t sum = own;
    for (int lanes = 1; lanes < kWarp; lanes *= 2) {
      const int64_t lower = __shfl_up_sync(kAllLanes, sum, lanes);
      sum += lane < lanes ? 0 : lower;
    }
    if (lane == kWarp - 1) {
      of_warps[threadIdx.x / kWarp] = sum;
    }
    __syncthreads();
    int64_t all = start;
    for (int warp = 0; warp < warps; ++warp) {
      if (warp == static_cast<int>(threadIdx.x) / kWarp) {
        sum += all;
      }
      all += of_warps[warp];
    }
    if (i < count) {
      values[i] = sum - own;
    }
    start = all;
    __syncthreads();  // before of_warps is written again
  }
  return start;
}

// One block per mask: offsets[mask] = its number of changes.
__global__ void __launch_bounds__(kThreads) sum_columns(int64_t columns, const int64_t* starts, int64_t* offsets) {
  int64_t sum[1] = {};
  for (int64_t column = threadIdx.x; column < columns; column += kThreads) {
    sum[0] += starts[blockIdx.x * columns + column];
  }
  block_sum<kThreads>(sum);
  if (threadIdx.x == 0) {
    offsets[blockIdx.x] = sum[0];
  }
}

// One block. The last entry of both arrays is the number of all changes.
__global__ void __launch_bounds__(kThreads) add_up_masks(int64_t count, int64_t columns, int64_t* starts,
                                                         int64_t* offsets) {
  const int64_t all = add_up(offsets, count, 0);
  if (threadIdx.x == 0) {
    offsets[count] = all;
    starts[count * columns] = all;
  }
}

// One block per mask.
__global__ void __launch_bounds__(kThreads) add_up_columns(int64_t columns, const int64_t* offsets, int64_t* starts) {
  add_up(starts + blockIdx.x * columns, columns, offsets[blockIdx.x]);
}

void launch_find_changes(const char* name, const Args& args, int64_t* starts, int32_t* positions, void* stream) {
  const int64_t line = LineTile::bytes_of_line(args.rows);
  const int64_t columns = std::clamp<int64_t>(kSharedBytes / line - 1, 1, std::min(kColumns, args.columns.pixels));
  const int64_t blocks_of_mask = (args.columns.pixels + columns - 1) / columns;
  with_logit_type(args.type, [&](auto element) {
    launch(name, find_changes<decltype(element)>, grid_size(args.count * blocks_of_mask), kThreads,
           static_cast<size_t>((columns + 1) * line), stream, args, static_cast<int>(columns), blocks_of_mask, starts,
           positions);
  });
}

}  // namespace

int64_t band_count(const Args& args) { return args.columns.pixels; }

void count(const Args& args, int64_t* starts, int64_t* offsets, void* stream) {
  const int64_t columns = args.columns.pixels;
  if (args.count > 0) {
    launch_find_changes("masks_to_rle count", args, starts, nullptr, stream);
    launch("masks_to_rle sum_columns", sum_columns, grid_size(args.count), kThreads, 0, stream, columns, starts,
           offsets);
  }
  launch("masks_to_rle add_up_masks", add_up_masks, 1, kThreads, 0, stream, args.count, columns, starts, offsets);
  if (args.count > 0) {
    launch("masks_to_rle add_up_columns", add_up_columns, grid_size(args.count), kThreads, 0, stream, columns, offsets,
           starts);
  }
}

void write(const Args& args, const int64_t* starts, int32_t* positions, void* stream) {
  if (args.count > 0 && positions != nullptr) {  // null if there is no change; the kernel only reads starts
    launch_find_changes("masks_to_rle write", args, const_cast<int64_t*>(starts), positions, stream);
  }
}

}  // namespace condinst::masks_to_rle::cuda
