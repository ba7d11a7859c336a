// The CUDA kernels of decode_detections, as a function that launches them on a stream (a cudaStream_t of the current
// device) and returns at once. It throws std::runtime_error if CUDA rejects a launch.
#pragma once

#include "decode_detections.h"

namespace condinst::decode_detections::cuda {

constexpr int64_t kBandElements = 4096;  // elements of a band; Args::band_cells is not used on CUDA

// Keys of the candidates that may be among the `top_k` best of their level, in any order.
struct Lists {
  uint64_t* keys;      // [num_images, bands, band_capacity]; those of a level are adjacent, from its first band on
  int32_t* counts;     // [num_images, num_levels] 0 at first
  uint64_t* selected;  // [num_images, places] the best of each level, from its first place on
  int64_t band_capacity;
};

static inline int64_t band_capacity(const Args& args) {
  return args.top_k < kBandElements ? args.top_k : kBandElements;
}

// Fills the results, except `counts` of images without places.
void decode(const Args& args, const Lists& lists, void* stream);

}  // namespace condinst::decode_detections::cuda
