#include "../common/cuda_launch.h"
#include "resize_image_cuda.h"

namespace condinst::resize_image::cuda {
namespace {

constexpr int kThreads = 256;

static inline unsigned blocks_of(int64_t tasks) { return grid_size((tasks + kThreads - 1) / kThreads); }

static __device__ __forceinline__ int64_t task_index() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

// One thread per pixel of an axis.
__global__ void __launch_bounds__(kThreads) weights_of_axes(Axis x, Axis y) {
  const int64_t place = task_index();
  if (place < x.to) {
    fill_weights(x, place);
  } else if (place < x.to + y.to) {
    fill_weights(y, place - x.to);
  }
}

// One thread per pixel of the result.
__global__ void __launch_bounds__(kThreads) sums_along_x(Pass pass) {
  const Axis& axis = pass.axis;
  const int64_t pixel = task_index();
  const int64_t row = pixel / axis.to;
  if (row >= pass.count) {
    return;
  }
  const int64_t x = pixel - row * axis.to;
  const uint8_t* from = pass.from + row * axis.from + axis.first[x];
  const int count = axis.count[x];
  int sum = kHalf;
  for (int tap = 0; tap < count; ++tap) {
    sum += from[tap] * axis.weights[tap * axis.to + x];
  }
  pass.to[pixel] = rounded(sum);
}

// One thread per pixel of the result.
__global__ void __launch_bounds__(kThreads) sums_along_y(Pass pass) {
  const Axis& axis = pass.axis;
  const int64_t pixel = task_index();
  const int64_t row = pixel / pass.width;
  if (row >= pass.count * axis.to) {
    return;
  }
  const int64_t plane = row / axis.to;
  const int64_t y = row - plane * axis.to;
  const uint8_t* from = pass.from + (plane * axis.from + axis.first[y]) * pass.width + (pixel - row * pass.width);
  const int count = axis.count[y];
  int sum = kHalf;
  for (int tap = 0; tap < count; ++tap) {
    sum += from[tap * pass.width] * axis.weights[tap * axis.to + y];
  }
  pass.to[pixel] = rounded(sum);
}

}  // namespace

void weights(const Axis& x, const Axis& y, void* stream) {
  launch("resize_image weights_of_axes", weights_of_axes, blocks_of(x.to + y.to), kThreads, 0, stream, x, y);
}

void along_x(const Pass& pass, void* stream) {
  launch("resize_image sums_along_x", sums_along_x, blocks_of(pass.count * pass.axis.to), kThreads, 0, stream, pass);
}

void along_y(const Pass& pass, void* stream) {
  launch("resize_image sums_along_y", sums_along_y, blocks_of(pass.count * pass.axis.to * pass.width), kThreads, 0, stream,
         pass);
}

}  // namespace condinst::resize_image::cuda
