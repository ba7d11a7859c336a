// From the cells of a mask to the pixels of an image, along one axis: aligned upsampling by the stride, crop to the
// network's size, bilinear resize to the output's. Each is linear and looks at two neighbours, so that a pixel is a
// weighted sum of three cells in a row. masks_to_image and masks_to_rle share this. All functions are static: see simd.h.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/element_type.h"
#include "../common/host_device.h"

namespace condinst::resampling {

constexpr int kTaps = 3;

// A cell whose logit is NaN has this probability: a pixel that has any share of it is background.
constexpr float kNotANumber = -1e30f;

// The share of a cell that PyTorch multiplies by 0, which makes NaN of NaN. It is lost in any sum of probabilities; of
// kNotANumber, even the share of a share is far below every threshold.
constexpr float kTouched = 1e-12f;

// One axis. Pixel i is the sum over t of weights[t * pixels + i] * cell[first[i] + t], where cells after the last have
// weight 0. The weights are not negative and their sum is 1, so that it is between the smallest and the largest cell.
struct Axis {
  int32_t cells;
  int32_t pixels;
  const int32_t* first;    // [pixels], ascending
  const float* weights;    // [kTaps, pixels]
  const int32_t* begin;    // [cells + 1]: the first pixel with `first` of at least this
};

constexpr int64_t kReadAfter = 16;  // numbers after a table that vectors may read, and drop

// Numbers of four bytes that the tables of an axis take: first, weights, begin.
static inline int64_t table_size(int64_t cells, int64_t pixels) {
  return (1 + kTaps) * pixels + cells + 1 + kReadAfter;
}

// Fills `table` [table_size] for a host to read.
static inline void fill_table(int64_t cells, int64_t stride, int64_t network, int64_t pixels, int32_t* table) {
  int32_t* first = table;
  float* weights = reinterpret_cast<float*>(table + pixels);
  int32_t* begin = table + (1 + kTaps) * pixels;
  // PyTorch's own numbers: single precision, the position rounded once.
  const float scale = static_cast<float>(network) / static_cast<float>(pixels);
  int64_t next = 0;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const double center = static_cast<double>(static_cast<float>(pixel) + 0.5f);
    const float exact = static_cast<float>(static_cast<double>(scale) * center - 0.5);
    const float position = exact > 0 ? exact : 0;
    const int64_t lower = static_cast<int64_t>(position) < network - 1 ? static_cast<int64_t>(position) : network - 1;
    const int64_t upper = lower < network - 1 && network != pixels ? lower + 1 : lower;  // as PyTorch copies
    const double share = static_cast<double>(position - static_cast<float>(lower));
    double sums[kTaps] = {};
    bool touched[kTaps] = {};
    int64_t cell = -1;
    const auto add = [&](int64_t fine, double part) {
      const int64_t shifted = fine < stride / 2 ? 0 : fine - stride / 2;  // where the aligned upsampling begins
      const int64_t left = shifted / stride;
      const int64_t right = left + 1 < cells ? left + 1 : left;
      const double of_right = static_cast<double>(shifted % stride) / static_cast<double>(stride);
      cell = cell < 0 ? left : cell;
      sums[left - cell] += part * (1 - of_right);
      sums[right - cell] += part * of_right;
      touched[left - cell] = true;
      touched[right - cell] |= stride > 1;
    };
    add(lower, 1 - share);
    add(upper, share);
    first[pixel] = static_cast<int32_t>(cell);
    for (int tap = 0; tap < kTaps; ++tap) {
      const float weight = static_cast<float>(sums[tap]);
      weights[tap * pixels + pixel] = touched[tap] && weight < kTouched ? kTouched : weight;
    }
    while (next <= cell) {
      begin[next++] = static_cast<int32_t>(pixel);
    }
  }
  while (next <= cells) {
    begin[next++] = static_cast<int32_t>(pixels);
  }
}

// The axis whose table is at `table`, on the host or on a device.
static inline Axis axis_of(const int32_t* table, int64_t cells, int64_t pixels) {
  return {static_cast<int32_t>(cells), static_cast<int32_t>(pixels), table,
          reinterpret_cast<const float*>(table + pixels), table + (1 + kTaps) * pixels};
}

// Masks and what becomes of them. All arrays are contiguous.
struct Args {
  const void* logits;  // [count, rows.cells, columns.cells] of type
  ElementType type;    // float16, bfloat16 or float32
  int64_t count;       // number of masks
  Axis rows;
  Axis columns;
  float threshold;     // of probabilities
};

}  // namespace condinst::resampling
