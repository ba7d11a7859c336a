// The division of the work of the CPU kernels of dynamic_mask_head and dynamic_mask_loss: ranges of tasks, which the caller
// may run on any threads in any order. Each range needs separate scratch memory.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "inputs.h"

namespace condinst::mask_network {

// Rows of features are padded to a multiple of this many cells: a whole number of vectors of any instruction set.
constexpr int64_t kRowCells = 16;

// Instances grouped by image, for backward: the task of a band of rows of an image's gradient adds up the instances in
// order.
struct Groups {
  const int64_t* order;        // [num_instances] instances, sorted by image
  const int64_t* image_start;  // [num_images + 1] the begin of each image in `order`
  int64_t begin, end;          // the part of `order` that is processed
  void* grad_features;         // [num_images, map_channels, height, row_stride] Acc, added to
  void* partial;               // [bands, end - begin, P] Acc, out: gradients of params from each band
};

// The functions below are static: see simd.h.

static inline int64_t padded_width(int64_t width) { return (width + kRowCells - 1) / kRowCells * kRowCells; }

// Rows are processed in bands. The number of bands is a power of two, which threads divide evenly, and depends only on the
// sizes, so that results do not depend on the number of threads. A band also computes the row above and the row below it.
static inline int64_t bands_of(int64_t height) {
  int64_t bands = 1;
  while (bands < 16 && height >= 16 * bands) {
    bands *= 2;
  }
  return bands;
}

// Many instances keep all threads busy without a division of their maps.
static inline int64_t forward_bands(const Inputs& inputs) {
  return inputs.num_instances >= 64 ? 1 : bands_of(inputs.height);
}

static inline int64_t band_start(int64_t band, int64_t bands, int64_t height) { return band * height / bands; }

// Tasks of forward: one per instance and band.
static inline int64_t forward_task_count(const Inputs& inputs) {
  return inputs.num_instances * forward_bands(inputs);
}

// Tasks of backward: one per band and image.
static inline int64_t backward_task_count(const Inputs& inputs) {
  return bands_of(inputs.height) * inputs.num_images;
}

CONDINST_FOR_EACH_ISA(
    // Bytes of scratch memory, aligned to 64, for one range of tasks.
    int64_t forward_scratch(const Inputs& inputs);
    int64_t backward_scratch(const Inputs& inputs);
    // Instances [begin, end) of groups: compute grad_params [num_instances, P] Acc from partial.
    void add_bands(const Inputs& inputs, const Groups& groups, int64_t begin, int64_t end, void* grad_params);)

}  // namespace condinst::mask_network
