// Lines of pixels in shared memory, for the CUDA kernels of masks_to_image and masks_to_rle.
#pragma once

#include "../common/cuda_launch.h"
#include "../common/cuda_numeric.h"
#include "../common/exact_sigmoid.h"
#include "../common/logistic.h"
#include "resampling.h"

namespace condinst::resampling {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Lines per block, if they are short enough. CUDA rejects the launch if a line (two lines for masks_to_rle) does not fit
// into a multiprocessor: beyond 20,000 to 50,000 cells.
constexpr int64_t kSharedBytes = 47 * 1024;  // the rest of 48 KiB is for static arrays

// A mask, by lines. For masks_to_image a line is a row, for masks_to_rle a column.
struct View {
  Axis across;         // the lines of cells for a line of pixels
  Axis along;          // the cells of a pixel along the line
  int64_t line_step;   // between lines of cells, in elements
  int64_t cell_step;   // between cells of a line
};

// Shared memory: lines that are combined from three lines of cells each, and not yet resampled along the line.
struct LineTile {
  float* cells;     // [lines, pitch], 0 after the last cell
  uint32_t* above;  // [lines, pitch / 32] bit c % 32 of word c / 32: cell c is above the threshold
  int pitch;

  static CONDINST_HOST_DEVICE int pitch_of(const Axis& along) {
    return (along.cells + kTaps - 1 + kWarp - 1) / kWarp * kWarp;
  }
  static int64_t bytes_of_line(const Axis& along) {
    return int64_t{pitch_of(along)} * static_cast<int64_t>(sizeof(float)) + pitch_of(along) / kWarp * sizeof(uint32_t);
  }
  __device__ int words() const { return pitch / kWarp; }
};

static __device__ __forceinline__ LineTile line_tile(const Axis& along, int lines) {
  const int pitch = LineTile::pitch_of(along);
  float* cells = dynamic_shared<float>();
  return {cells, reinterpret_cast<uint32_t*>(cells + int64_t{lines} * pitch), pitch};
}

// `exact`: the same bits as in the CPU kernels of panoptic_merge, if the file is compiled without fused operations.
template <bool exact, class T>
static __device__ __forceinline__ float probability(T logit) {
  const float x = widen<float>(logit);
  if (x != x) {
    return kNotANumber;
  }
  if constexpr (exact) {
    return exact_sigmoid(x);
  } else {
    return logistic(x).sigmoid;
  }
}

// The sum of weights[t * step] * taps[t].
template <bool exact>
static __device__ __forceinline__ float weighted_sum(const float* weights, int64_t step, const float* taps) {
  const float first = weights[0] * taps[0];
  if constexpr (exact) {
    const float both = first + weights[step] * taps[1];
    return both + weights[2 * step] * taps[2];
  } else {
    return fmaf(weights[2 * step], taps[2], fmaf(weights[step], taps[1], first));
  }
}

// Fills a tile with pixel lines [begin, end). A lane keeps the same cell of three lines, because consecutive lines of
// pixels depend on the same lines of cells. All threads of the block must call it; it ends with a barrier.
template <int threads, bool exact = false, class T>
static __device__ __forceinline__ void fill_tile(const View& view, const T* logits, int64_t begin, int64_t end,
                                                 float threshold, const LineTile& tile) {
  const int lane = threadIdx.x % kWarp;
  const int half = static_cast<int>(end - begin + 1) / 2;  // two tasks for each 32 cells: work for all warps
  for (int task = threadIdx.x / kWarp; task < 2 * tile.words(); task += threads / kWarp) {
    const int cell = task / 2 * kWarp + lane;
    const bool exists = cell < view.along.cells;
    const int64_t first = begin + task % 2 * half;
    const int64_t last = min(first + half, end);
    const auto load = [&](int line) {
      return exists && line < view.across.cells
                 ? probability<exact>(logits[line * view.line_step + cell * view.cell_step])
                 : 0.0f;
    };
    float taps[kTaps] = {};
    int at = -kTaps;  // the line of cells of taps[0]
    for (int64_t pixel = first; pixel < last; ++pixel) {
      const int wanted = view.across.first[pixel];
      for (at = max(at, wanted - kTaps); at < wanted; ++at) {
        taps[0] = taps[1];
        taps[1] = taps[2];
        taps[2] = load(at + kTaps);
      }
      const float value = weighted_sum<exact>(view.across.weights + pixel, view.across.pixels, taps);
      const int line = static_cast<int>(pixel - begin);
      tile.cells[line * tile.pitch + cell] = value;
      const unsigned above = __ballot_sync(kAllLanes, exists && value > threshold);
      if (lane == 0) {
        tile.above[line * tile.words() + task / 2] = above;
      }
    }
  }
  __syncthreads();
}

enum class Side { below, above, mixed };

// The side of the threshold of pixels [begin, last] of a line, which is the side of their cells. `mixed` means that the
// pixels must be computed; it may be due to a cell that they do not depend on.
static __device__ __forceinline__ Side side_of(const Axis& along, const uint32_t* above, int64_t begin, int64_t last) {
  const int low = along.first[begin];
  const int count = min(along.first[last] + kTaps, along.cells) - low;
  if (count > kWarp) {
    return Side::mixed;
  }
  uint64_t bits = above[low / kWarp];
  if (low % kWarp + count > kWarp) {
    bits |= uint64_t{above[low / kWarp + 1]} << kWarp;
  }
  const uint32_t wanted = kAllLanes >> (kWarp - count);
  const uint32_t seen = static_cast<uint32_t>(bits >> (low % kWarp)) & wanted;
  return seen == 0 ? Side::below : seen == wanted ? Side::above : Side::mixed;
}

template <bool exact = false>
static __device__ __forceinline__ bool pixel_above(const Axis& along, const float* cells, int64_t pixel,
                                                   float threshold) {
  return weighted_sum<exact>(along.weights + pixel, along.pixels, cells + along.first[pixel]) > threshold;
}

// Calls f with a value of the type of the logits, which is float16, bfloat16 or float32.
template <class F>
static inline void with_logit_type(ElementType type, const F& f) {
  with_element_type(type, [&](auto element) {
    using T = decltype(element);
    if constexpr (!std::is_same_v<T, double> && !std::is_same_v<T, uint8_t>) {
      f(element);
    }
  });
}

}  // namespace condinst::resampling
