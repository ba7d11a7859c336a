// The CUDA kernels of resize_image, as functions that launch them on a stream (a cudaStream_t of the current device) and
// return at once. They throw std::runtime_error when CUDA does not take a launch.
#pragma once

#include "resize_image.h"

namespace condinst::resize_image::cuda {

// Fills the weights of both axes.
void weights(const Axis& x, const Axis& y, void* stream);

void along_x(const Pass& pass, void* stream);

void along_y(const Pass& pass, void* stream);

}  // namespace condinst::resize_image::cuda
