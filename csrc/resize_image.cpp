// resize_image: schema, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are defensive
// checks for direct callers of torch.ops.condinst.
#include "../kernels/resize_image/resize_image_cpu.h"
#include "../kernels/resize_image/resize_image_cuda.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "cuda.h"
#include "dense.h"
#include "registration.h"
#include "sizes.h"

namespace condinst::resize_image {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// An axis whose arrays are in `workspace`, a tensor that this function makes.
Axis make_axis(const Tensor& image, int64_t from, int64_t to, Tensor& workspace) {
  const int64_t taps = taps_of(from, to);
  const int64_t rows = sum("taps", taps, 2);
  product("size", {rows, to, int64_t{sizeof(int32_t)}});
  workspace = torch::stable::new_empty(image, {rows, to}, ScalarType::Int);
  int32_t* const first = static_cast<int32_t*>(workspace.mutable_data_ptr());
  return {from, to, taps, first, first + to, first + 2 * to};
}

void fill(const Tensor& image, const Axis& x, const Axis& y) {
  if constexpr (kWithCuda) {
    if (on_cuda(image)) {
      return on_current_stream(image, [&](void* stream) { cuda::weights(x, y, stream); });
    }
  }
  const auto weights = CONDINST_CPU_KERNEL(weights);
  for (const Axis* axis : {&x, &y}) {
    torch::stable::parallel_for(0, axis->to, kCpuRows,
                                [&](int64_t begin, int64_t end) { weights(*axis, begin, end); });
  }
}

// The image with another width.
Tensor along_x(const Tensor& image, const Axis& axis) {
  const int64_t channels = image.size(0), height = image.size(1);
  const Tensor out = torch::stable::new_empty(image, {channels, height, axis.to});
  const Pass pass{static_cast<const uint8_t*>(image.const_data_ptr()), static_cast<uint8_t*>(out.mutable_data_ptr()),
                  channels * height, axis.to, axis};
  if constexpr (kWithCuda) {
    if (on_cuda(image)) {
      on_current_stream(image, [&](void* stream) { cuda::along_x(pass, stream); });
      return out;
    }
  }
  const auto kernel = CONDINST_CPU_KERNEL(along_x);
  torch::stable::parallel_for(0, pass.count, kCpuRows, [&](int64_t begin, int64_t end) { kernel(pass, begin, end); });
  return out;
}

// The image with another height.
Tensor along_y(const Tensor& image, const Axis& axis) {
  const int64_t channels = image.size(0), width = image.size(2);
  const Tensor out = torch::stable::new_empty(image, {channels, axis.to, width});
  const Pass pass{static_cast<const uint8_t*>(image.const_data_ptr()), static_cast<uint8_t*>(out.mutable_data_ptr()),
                  channels, width, axis};
  if constexpr (kWithCuda) {
    if (on_cuda(image)) {
      on_current_stream(image, [&](void* stream) { cuda::along_y(pass, stream); });
      return out;
    }
  }
  const auto kernel = CONDINST_CPU_KERNEL(along_y);
  torch::stable::parallel_for(0, channels * axis.to, kCpuRows,
                              [&](int64_t begin, int64_t end) { kernel(pass, begin, end); });
  return out;
}

// image [C, H, W] -> [C, height, width]
Tensor forward(const Tensor& image, int64_t height, int64_t width) {
  STD_TORCH_CHECK(image.dim() == 3 && image.scalar_type() == ScalarType::Byte, "image: expected uint8 [C, H, W]");
  STD_TORCH_CHECK(is_image_size(image.size(1), image.size(2)) && is_image_size(height, width),
                  "image, size: expected images of 1 to ", kMostPixels, " pixels");
  Tensor result = dense(image);
  const int64_t channels = image.size(0), old_height = image.size(1), old_width = image.size(2);
  product("size", {channels, std::max(old_height, height), std::max(old_width, width)});
  if ((old_height == height && old_width == width) || channels == 0) {
    Tensor out = torch::stable::new_empty(image, {channels, height, width});
    return channels == 0 ? out : torch::stable::copy_(out, result);
  }
  Tensor x_workspace, y_workspace;
  const Axis x = make_axis(image, old_width, width, x_workspace);
  const Axis y = make_axis(image, old_height, height, y_workspace);
  fill(image, x, y);
  const bool y_first = columns_first(old_height, old_width, height, width);
  // A pass along an axis that keeps its size would change nothing.
  for (const bool y_next : {y_first, !y_first}) {
    if (y_next && y.from != y.to) {
      result = along_y(result, y);
    } else if (!y_next && x.from != x.to) {
      result = along_x(result, x);
    }
  }
  return result;
}

}  // namespace
}  // namespace condinst::resize_image

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def("resize_image(Tensor image, SymInt height, SymInt width) -> Tensor");
}

CONDINST_LIBRARY_IMPL(m) { m.impl("resize_image", TORCH_BOX(&condinst::resize_image::forward)); }
