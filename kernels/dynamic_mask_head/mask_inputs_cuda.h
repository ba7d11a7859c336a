// What the CUDA kernels of dynamic_mask_head and dynamic_mask_loss take as input.
#pragma once

#include "dynamic_mask_head_math.h"

namespace condinst::dynamic_mask_head::cuda {

// All arrays are contiguous. "Acc" is double when `wide`, otherwise float.
struct Inputs {
  Network network;
  const void* features;           // [num_images, map_channels, height, width] Acc
  const void* params;             // [num_instances, network.num_params()] Acc
  const void* locations;          // [num_instances, 2] Acc, x and y
  const int64_t* image_indices;   // [num_instances]; those out of range give NaN
  const void* sizes_of_interest;  // [num_instances] Acc
  int64_t num_images;
  int64_t num_instances;
  int map_channels;               // of features, whether they are used or not
  int height, width;              // of the map, in cells
  int feature_stride;
  int factor;                     // of the upsampling
  bool wide;
};

// Whether there are no logits at all.
static inline bool is_empty(const Inputs& inputs) {
  return inputs.num_instances == 0 || inputs.height == 0 || inputs.width == 0;
}

}  // namespace condinst::dynamic_mask_head::cuda
