// What the CPU and the CUDA kernels of mask_centers share: arguments, and how masks are cut up. All functions are static:
// see simd.h.
#pragma once

#include <cstdint>

#include "../common/host_device.h"

namespace condinst::mask_centers {

// sum(x * m), sum(y * m) and sum(m) over some of the pixels of a mask. Integers: any order of additions gives the same.
struct Sums {
  int64_t x, y, total;
};

// All arrays are contiguous.
struct Args {
  const uint8_t* masks;   // [num_masks, height, width]
  int64_t num_masks;
  int64_t height, width;
  int64_t rows_per_band;  // rows of one mask that one task takes
  int64_t bands;          // per mask, the last one perhaps cut short
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

// A sum over a sum, rounded to float once; 0 / 0 is the NaN that matches nothing.
static inline CONDINST_HOST_DEVICE float center_of(int64_t sum, int64_t total) {
  return static_cast<float>(static_cast<double>(sum) / static_cast<double>(total));
}

}  // namespace condinst::mask_centers
