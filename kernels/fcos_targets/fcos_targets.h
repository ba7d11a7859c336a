// Code that the CPU and the CUDA kernels of fcos_targets share: their arguments, the object of a location, and its targets
// (section 3.2, numerics 2.1). The operations are those of the reference, in float and in the same order, so that results
// have the same bits. A comparison with NaN is false, so a NaN centre (an empty mask) or a NaN corner matches no location.
// All functions are static: see simd.h.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/host_device.h"

namespace condinst::fcos_targets {

// The same number as in condinst/ops/fcos_targets/autograd.py.
constexpr int kMaxLevels = 32;

// One level of the pyramid. Cell (i, j) is at (x, y) = (j * stride + stride / 2, i * stride + stride / 2) pixels.
struct Level {
  int64_t first;          // location of its first cell, among all levels
  int64_t height, width;  // cells
  int64_t stride;         // pixels
  float lowest, highest;  // of the largest distance, in pixels; both ends included
  float reach;            // from the centre of an object, in pixels
};

// All arrays are contiguous. Locations are those of all levels, finest first, row-major.
struct Args {
  const float* boxes;            // [num_objects, 4]
  const int64_t* labels;         // [num_objects]
  const float* centers;          // [num_objects, 2], or null for the centres of the boxes
  const int64_t* image_indices;  // [num_objects]; objects with an index out of range match nothing
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

struct Object {
  float x1, y1, x2, y2;
  float center_x, center_y;
  float area;
};

static inline CONDINST_HOST_DEVICE float area_of(const float* box) { return (box[2] - box[0]) * (box[3] - box[1]); }

static inline CONDINST_HOST_DEVICE Object object_of(const Args& args, int64_t index) {
  const float* box = args.boxes + 4 * index;
  const float* center = args.centers + 2 * index;
  const bool has_center = args.centers != nullptr;
  return {box[0],
          box[1],
          box[2],
          box[3],
          has_center ? center[0] : (box[0] + box[2]) / 2,
          has_center ? center[1] : (box[1] + box[3]) / 2,
          area_of(box)};
}

// The position of a row (or column) of cells, in pixels.
static inline CONDINST_HOST_DEVICE float position_of(const Level& level, int64_t cell) {
  return static_cast<float>(cell * level.stride + level.stride / 2);
}

static inline CONDINST_HOST_DEVICE float larger(float a, float b) { return a > b ? a : b; }
static inline CONDINST_HOST_DEVICE float smaller(float a, float b) { return a < b ? a : b; }

// Whether (x, y) lies strictly inside the box and the window around the centre, and the level is for boxes of this size.
static inline CONDINST_HOST_DEVICE bool matches(const Object& object, const Level& level, float x, float y) {
  const float left = x - object.x1, top = y - object.y1, right = object.x2 - x, bottom = object.y2 - y;
  const bool in_box = left > 0 && top > 0 && right > 0 && bottom > 0;
  const bool in_window = x - (object.center_x - level.reach) > 0 && y - (object.center_y - level.reach) > 0 &&
                         (object.center_x + level.reach) - x > 0 && (object.center_y + level.reach) - y > 0;
  const float longest = larger(larger(left, top), larger(right, bottom));
  return in_box && in_window && longest >= level.lowest && longest <= level.highest;
}

// Fills location `index` (of all images) with the targets of its object.
static inline CONDINST_HOST_DEVICE void write_target(const Args& args, int64_t index, const Level& level,
                                                     int64_t object_index, float x, float y) {
  const Object object = object_of(args, object_index);
  const float stride = static_cast<float>(level.stride);
  const float left = (x - object.x1) / stride, top = (y - object.y1) / stride;
  const float right = (object.x2 - x) / stride, bottom = (object.y2 - y) / stride;
  const float ratios =
      smaller(left, right) / larger(left, right) * (smaller(top, bottom) / larger(top, bottom));
  args.location_labels[index] = args.labels[object_index];
  args.distances[4 * index] = left;
  args.distances[4 * index + 1] = top;
  args.distances[4 * index + 2] = right;
  args.distances[4 * index + 3] = bottom;
  args.centerness[index] = sqrtf(ratios);
  args.object_indices[index] = object_index;
}

}  // namespace condinst::fcos_targets
