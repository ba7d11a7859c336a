// What the CPU and the CUDA kernels of fcos_targets share: arguments. All functions are static: see simd.h.
#pragma once

#include <cstdint>

#include "../common/host_device.h"

namespace condinst::fcos_targets {

// condinst/ops/fcos_targets/autograd.py says the same.
constexpr int kMaxLevels = 32;

// One level of the pyramid. Cell (i, j) is at (x, y) = (j * stride + stride / 2, i * stride + stride / 2) pixels.
struct Level {
  int64_t first;          // location of its first cell, among all levels
  int64_t height, width;  // cells
  int64_t stride;         // pixels
  float lowest, highest;  // of the longest side, in pixels; both belong to the level
  float reach;            // from the centre of an object, in pixels
};

// All arrays are contiguous. Locations are those of all levels, finest first, row-major.
struct Args {
  const float* boxes;            // [num_objects, 4]
  const int64_t* labels;         // [num_objects]
  const float* centers;          // [num_objects, 2], or null for the centres of the boxes
  const int64_t* image_indices;  // [num_objects]; an object of no image matches nothing
  int64_t num_objects;
  int64_t num_images;
  int64_t num_classes;           // the label of background
  int64_t num_locations;
  int num_levels;
  Level levels[kMaxLevels];
  int64_t* location_labels;      // [num_images, num_locations], out
  float* distances;              // [num_images, num_locations, 4], out
  float* centerness;             // [num_images, num_locations], out
  int64_t* object_indices;       // [num_images, num_locations], out
};

}  // namespace condinst::fcos_targets
