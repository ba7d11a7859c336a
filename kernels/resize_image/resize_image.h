// What the CPU and the CUDA kernels of resize_image share: the arguments and the weights of Pillow's bilinear resize.
//
// A pass resizes one axis: each pixel becomes a weighted sum of its neighbours, rounded to 8 bits. Weights are integers of
// 22 bits that are made from doubles, in the order in which Pillow computes them, so that the result equals Pillow's in
// every bit. No product and sum may become one operation: see the list in CMakeLists.txt.
#pragma once

#include <cstdint>

#include "../common/host_device.h"

namespace condinst::resize_image {

constexpr int kWeightBits = 22;
constexpr int kHalf = 1 << (kWeightBits - 1);
constexpr int64_t kTapBlock = 4;  // the number of taps is a multiple of it; CPU kernels load so many bytes at a time

// One axis of the resize. Arrays are workspace of the caller, which fill_weights fills.
struct Axis {
  int64_t from, to;   // pixels before and after
  int64_t taps;       // neighbours that a pixel may have, see taps_of
  int32_t* first;     // [to] the first neighbour
  int32_t* count;     // [to] how many there are
  int32_t* weights;   // [taps, to], 0 from count on
};

// A pass along x has `count` rows; one along y has `count` planes of rows with `width` pixels.
struct Pass {
  const uint8_t* from;  // [count, axis.from] or [count, axis.from, width]
  uint8_t* to;          // [count, axis.to] or [count, axis.to, width]
  int64_t count;
  int64_t width;
  Axis axis;
};

// Whether the pass along y comes first, which changes the rounding. This is the rule of Pillow 13; older versions always
// begin with x.
static inline bool columns_first(int64_t height, int64_t width, int64_t new_height, int64_t new_width) {
  return new_height < height && height - new_height > 2 * (width - new_width);
}

// Pixels before per pixel after; a larger image gets weights as if it were 1.
static inline CONDINST_HOST_DEVICE double filter_scale(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  return scale < 1.0 ? 1.0 : scale;
}

// An upper bound of the number of neighbours, rounded up to kTapBlock.
static inline int64_t taps_of(int64_t from, int64_t to) {
  const int64_t reach = static_cast<int64_t>(filter_scale(from, to)) + 1;  // of the filter, on each side
  return (2 * reach + 1 + kTapBlock - 1) / kTapBlock * kTapBlock;
}

static inline CONDINST_HOST_DEVICE double triangle(double distance) {
  const double absolute = distance < 0.0 ? -distance : distance;
  return absolute < 1.0 ? 1.0 - absolute : 0.0;
}

// The neighbours of pixel `place` after the resize, and their weights.
static inline CONDINST_HOST_DEVICE void fill_weights(const Axis& axis, int64_t place) {
  const double scale = static_cast<double>(axis.from) / static_cast<double>(axis.to);
  const double support = filter_scale(axis.from, axis.to);
  const double inverse = 1.0 / support;
  const double center = (static_cast<double>(place) + 0.5) * scale;
  int64_t first = static_cast<int64_t>(center - support + 0.5);
  first = first < 0 ? 0 : first;
  int64_t end = static_cast<int64_t>(center + support + 0.5);
  end = end > axis.from ? axis.from : end;
  double sum = 0.0;
  for (int64_t i = first; i < end; ++i) {
    sum += triangle((static_cast<double>(i) - center + 0.5) * inverse);
  }
  axis.first[place] = static_cast<int32_t>(first);
  axis.count[place] = static_cast<int32_t>(end - first);
  for (int64_t tap = 0; tap < axis.taps; ++tap) {
    int32_t weight = 0;
    if (first + tap < end) {
      double share = triangle((static_cast<double>(first + tap) - center + 0.5) * inverse);
      share = sum != 0.0 ? share / sum : share;
      weight = static_cast<int32_t>(0.5 + share * (1 << kWeightBits));
    }
    axis.weights[tap * axis.to + place] = weight;
  }
}

static inline CONDINST_HOST_DEVICE uint8_t rounded(int32_t sum) {
  const int32_t value = sum >> kWeightBits;
  return static_cast<uint8_t>(value > 255 ? 255 : value);
}

}  // namespace condinst::resize_image
