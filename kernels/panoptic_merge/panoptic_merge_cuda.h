// The CUDA kernels of panoptic_merge, as functions that launch them on a stream (a cudaStream_t of the current device) and
// return at once. They throw std::runtime_error if CUDA rejects a launch.
#pragma once

#include "panoptic_merge.h"

namespace condinst::panoptic_merge::cuda {

constexpr int kBandRows = 16;  // rows of pixels that a block draws of a mask

static inline int64_t num_bands(const Args& args) { return (args.height + kBandRows - 1) / kBandRows; }

// Arrays on the device.
struct Scratch {
  int32_t* ranked;      // [num_images, num_instances] candidates by falling score
  int32_t* counts;      // [num_images] number of candidates; 0 at first
  int32_t* band_areas;  // [num_instances, num_bands] pixels of a mask; if 0, its bits are not written
  int32_t* channels;    // [num_images, semantic cells] the leading class, or kUnsure
};

// Copies an image's axes to the device.
void set_image(Image* to, const Image& image, void* stream);

// Fills ids, and instance_areas and stuff_areas, which are 0 at first, as is `taken`. num_images is not 0.
void merge(const Args& args, const Scratch& scratch, void* stream);

}  // namespace condinst::panoptic_merge::cuda
