// The parameters that dynamic_mask_head and dynamic_mask_loss share, for the CPU and the CUDA kernels.
#pragma once

#include "mask_network_math.h"

namespace condinst::mask_network {

// Each row of features is contiguous, as are all other arrays. "Acc" is double for float64 features (`wide`), otherwise
// float. csrc checks that a side of the map and the feature stride are at most 2^30 and that the CUDA kernels get maps of
// less than 2^31 pixels after upsampling, so that they can use 32-bit integers within a map.
struct Inputs {
  Network network;
  const void* features;          // [num_images, map_channels, height, row_stride] Acc; 0 from cell `width` on
  const void* params;            // [num_instances, network.num_params()] Acc
  const void* locations;         // [num_instances, 2] Acc, x and y
  const int64_t* image_indices;  // [num_instances]; in 0 .. num_images-1; other indices give NaN on CUDA
  const void* sizes;             // [num_instances] Acc, the sizes of interest
  int64_t num_images;
  int64_t num_instances;
  int64_t row_stride;            // cells from a row to the next: padded_width(width) on the CPU, width on CUDA
  int map_channels;              // of features, even if the network does not use them
  int height, width;             // of the map, in cells
  int feature_stride;            // pixels per cell
  int factor;                    // of the upsampling
  bool wide;
};

// Whether there are no logits.
static inline bool is_empty(const Inputs& inputs) {
  return inputs.num_instances == 0 || inputs.height == 0 || inputs.width == 0;
}

}  // namespace condinst::mask_network
