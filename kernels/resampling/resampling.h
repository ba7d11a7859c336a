// Resampling from the cells of a mask to the pixels of an image, along one axis: aligned upsampling by the stride, crop to
// the network size, bilinear resize to the output size. The upsampling and the resize are linear and use two neighbours, so
// that a pixel is a weighted sum of three adjacent cells. masks_to_image and masks_to_rle share this. All functions are
// static: see simd.h.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/element_type.h"
#include "../common/host_device.h"

namespace condinst::resampling {

constexpr int kTaps = 3;

// A cell whose logit is NaN has this probability, so that a pixel in which the cell has a weight above 0 is background.
// With a weight of 0, the cell has no influence.
constexpr float kNotANumber = -1e30f;

// Weights above 0 are at least this number: the product of its square and kNotANumber is still far below every threshold.
constexpr float kLeastWeight = 1e-12f;

// One axis. Pixel i is the sum over t of weights[t * pixels + i] * cell[first[i] + t], where cells after the last have
// weight 0. The weights are not negative and their sum is 1, so that a pixel is between its smallest and its largest cell.
struct Axis {
  int32_t cells;
  int32_t pixels;
  const int32_t* first;    // [pixels], ascending
  const float* weights;    // [kTaps, pixels]
  const int32_t* begin;    // [cells + 1]: the first pixel with `first` of at least this
  int32_t taps;            // kTaps, or 2 if the last weight of every pixel is 0
};

// The definition of an axis, in numbers of cells and pixels.
struct Scale {
  int64_t cells;    // of the mask
  int64_t stride;   // pixels of the network's input per cell
  int64_t network;  // of these pixels, without the padding
  int64_t pixels;   // of the output
};

constexpr int64_t kReadAfter = 16;  // numbers after a table that vectors may read

// The size of the tables of an axis, in numbers of four bytes: first, weights, begin.
static inline int64_t table_size(const Scale& scale) {
  return (1 + kTaps) * scale.pixels + scale.cells + 1 + kReadAfter;
}

// The cells and weights of a pixel.
struct Taps {
  int32_t first;
  float weights[kTaps];
};

static inline CONDINST_HOST_DEVICE Taps taps_of(const Scale& scale, int64_t pixel) {
  // The numbers of PyTorch: single precision, with the position rounded once.
  const float step = static_cast<float>(scale.network) / static_cast<float>(scale.pixels);
  const double center = static_cast<double>(static_cast<float>(pixel) + 0.5f);
  const float exact = static_cast<float>(static_cast<double>(step) * center - 0.5);
  const float position = exact > 0 ? exact : 0;
  const int64_t last = scale.network - 1;
  const int64_t lower = static_cast<int64_t>(position) < last ? static_cast<int64_t>(position) : last;
  const int64_t upper = lower < last ? lower + 1 : lower;
  const double share = static_cast<double>(position - static_cast<float>(lower));
  double sums[kTaps] = {};
  int64_t cell = -1;
  const auto add = [&](int64_t fine, double part) {
    const int64_t shifted = fine < scale.stride / 2 ? 0 : fine - scale.stride / 2;  // the begin of the aligned upsampling
    const int64_t left = shifted / scale.stride;
    const int64_t right = left + 1 < scale.cells ? left + 1 : left;
    const double of_right = static_cast<double>(shifted % scale.stride) / static_cast<double>(scale.stride);
    cell = cell < 0 ? left : cell;
    sums[left - cell] += part * (1 - of_right);
    sums[right - cell] += part * of_right;
  };
  add(lower, 1 - share);
  add(upper, share);
  Taps taps{static_cast<int32_t>(cell), {}};
  for (int tap = 0; tap < kTaps; ++tap) {
    const float weight = static_cast<float>(sums[tap]);
    taps.weights[tap] = weight > 0 && weight < kLeastWeight ? kLeastWeight : weight;
  }
  return taps;
}

// Fills the entries of a pixel in `table` [table_size], and `begin` of the cells for which it is the first pixel. `before`
// is `first` of the previous pixel, or -1.
static inline CONDINST_HOST_DEVICE void fill_in(const Scale& scale, int64_t pixel, const Taps& taps, int32_t before,
                                                int32_t* table) {
  table[pixel] = taps.first;
  float* weights = reinterpret_cast<float*>(table + scale.pixels);
  for (int tap = 0; tap < kTaps; ++tap) {
    weights[tap * scale.pixels + pixel] = taps.weights[tap];
  }
  int32_t* begin = table + (1 + kTaps) * scale.pixels;
  for (int64_t cell = before + 1; cell <= taps.first; ++cell) {
    begin[cell] = static_cast<int32_t>(pixel);
  }
  if (pixel == scale.pixels - 1) {
    for (int64_t cell = taps.first + 1; cell <= scale.cells; ++cell) {
      begin[cell] = static_cast<int32_t>(scale.pixels);
    }
  }
}

static inline void fill_table(const Scale& scale, int32_t* table) {
  int32_t before = -1;
  for (int64_t pixel = 0; pixel < scale.pixels; ++pixel) {
    const Taps taps = taps_of(scale, pixel);
    fill_in(scale, pixel, taps, before, table);
    before = taps.first;
  }
}

// The axis with the table at `table`, on the host or on a device.
static inline Axis axis_of(const int32_t* table, const Scale& scale) {
  return {static_cast<int32_t>(scale.cells), static_cast<int32_t>(scale.pixels), table,
          reinterpret_cast<const float*>(table + scale.pixels), table + (1 + kTaps) * scale.pixels,
          scale.network == scale.pixels ? 2 : kTaps};
}

// Bounds of cells that decide pixels without computing them: if three by three cells are all above `high`, their pixels are
// above the threshold, and if none is above `low`, they are not.
//
// exact = false, for masks_to_image and masks_to_rle: both are the threshold, and pixels within rounding of it may be on
// either side. exact = true, for panoptic_merge: sums without fused operations would give the same result. The error of a
// sum of 3 x 3 products of probabilities is less than 9 roundings of 2^-24.
template <bool exact>
struct Bounds {
  float threshold, low, high;

  explicit CONDINST_HOST_DEVICE Bounds(float threshold)
      : threshold(threshold),
        low(exact ? threshold * (1 - 2e-6f) - 1e-30f : threshold),
        high(exact ? threshold * (1 + 2e-6f) + 1e-30f : threshold) {}
};

// The masks, their axes and the threshold. All arrays are contiguous.
struct Args {
  const void* logits;  // [count, rows.cells, columns.cells] of type
  ElementType type;    // float16, bfloat16 or float32
  int64_t count;       // number of masks
  Axis rows;
  Axis columns;
  float threshold;     // of probabilities
};

}  // namespace condinst::resampling
