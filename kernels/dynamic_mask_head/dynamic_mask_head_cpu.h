// The CPU kernels of dynamic_mask_head. They work on ranges of tasks, which the caller may give to any threads in any
// order; each range needs scratch memory of its own.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "../common/element_type.h"
#include "dynamic_mask_head_math.h"

namespace condinst::dynamic_mask_head {

// Rows of features are padded to a multiple of this many cells: a whole number of vectors of any instruction set.
constexpr int64_t kRowCells = 16;

// What forward and backward read. "Acc" is double for float64 features (`wide`), otherwise float. All is contiguous.
struct Inputs {
  const void* features;          // [num_images, C, height, row_stride] Acc; 0 from cell `width` on
  const void* params;            // [num_instances, P] Acc
  const void* locations;         // [num_instances, 2] Acc
  const void* sizes;             // [num_instances] Acc
  const int64_t* image_indices;  // [num_instances] in 0 .. num_images-1
  bool wide;
  Network network;
  int64_t num_images, num_instances;
  int64_t feature_channels;      // C, also when the network does not use them
  int64_t height, width;         // cells
  int64_t row_stride;            // padded_width(width)
  int64_t feature_stride;        // pixels per cell
  int factor;                    // of the upsampling
};

// Instances grouped by image, for backward: whoever owns rows of an image's gradient adds up its instances in order.
struct Groups {
  const int64_t* order;        // [num_instances] instances, sorted by image
  const int64_t* image_start;  // [num_images + 1] where each image begins in `order`
  int64_t begin, end;          // the part of `order` that is worked on
  void* grad_features;         // [num_images, C, height, row_stride] Acc, added to
  void* partial;               // [bands, end - begin, P] Acc, out: gradients of params from each band
};

struct ForwardArgs {
  Inputs inputs;
  ElementType type;  // of the logits
  void* logits;      // [num_instances, height * factor, width * factor], out
};

struct BackwardArgs {
  Inputs inputs;
  Groups groups;
  ElementType type;         // of grad_logits
  const void* grad_logits;  // [num_instances, height * factor, width * factor]
};

// The functions below are static: see simd.h.

static inline int64_t padded_width(int64_t width) { return (width + kRowCells - 1) / kRowCells * kRowCells; }

// Rows are worked on in bands. Their number is a power of two, which threads divide evenly, and follows from the sizes
// alone, so that results do not depend on the number of threads. A band computes a row above and below it again.
static inline int64_t bands_of(int64_t height) {
  int64_t bands = 1;
  while (bands < 16 && height >= 16 * bands) {
    bands *= 2;
  }
  return bands;
}

// Many instances keep all threads busy without cutting their maps.
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
    // Tasks [begin, end) of forward_task_count: fill the logits.
    void forward(const ForwardArgs& args, int64_t begin, int64_t end, void* scratch);
    // Tasks [begin, end) of backward_task_count: add to grad_features, fill partial.
    void backward(const BackwardArgs& args, int64_t begin, int64_t end, void* scratch);
    // Instances [begin, end) of groups: from partial to grad_params [num_instances, P] Acc.
    void add_bands(const Inputs& inputs, const Groups& groups, int64_t begin, int64_t end, void* grad_params);)

}  // namespace condinst::dynamic_mask_head
