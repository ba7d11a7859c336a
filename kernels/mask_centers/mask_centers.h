// Code that the CPU and the CUDA kernels of mask_centers share: arguments, and the division of masks into tasks. All
// functions are static: see simd.h.
#pragma once

#include <cstdint>

#include "../common/host_device.h"

namespace condinst::mask_centers {

// sum(x * m), sum(y * m) and sum(m) over a part of a mask. They are integers, so the order of additions does not matter.
struct Sums {
  int64_t x, y, total;
};

// All arrays are contiguous.
struct Args {
  const uint8_t* masks;   // [num_masks, height, width]
  int64_t num_masks;
  int64_t height, width;
  int64_t rows_per_band;  // rows of a mask per task
  int64_t bands;          // per mask; the last may be shorter
  Sums* partial;          // [num_masks, bands] scratch
  float* centers;         // [num_masks, 2], out
};

static inline int64_t task_count(const Args& args) { return args.num_masks * args.bands; }

// Rows [begin, end) of a mask.
struct Band {
  int64_t mask, begin, end;
};

static inline CONDINST_HOST_DEVICE Band band_of(const Args& args, int64_t task) {
  const int64_t mask = task / args.bands;
  const int64_t begin = (task - mask * args.bands) * args.rows_per_band;
  const int64_t end = begin + args.rows_per_band;
  return {mask, begin, end < args.height ? end : args.height};
}

// A quotient of two sums, rounded to float once; 0 / 0 is NaN, which matches no location.
static inline CONDINST_HOST_DEVICE float center_of(int64_t sum, int64_t total) {
  return static_cast<float>(static_cast<double>(sum) / static_cast<double>(total));
}

}  // namespace condinst::mask_centers
