// mask_centers: schema, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are
// defensive checks for direct callers of torch.ops.condinst.
#include "../kernels/mask_centers/mask_centers_cpu.h"
#include "../kernels/mask_centers/mask_centers_cuda.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "registration.h"
#include "sizes.h"

namespace condinst::mask_centers {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void run(const Tensor& masks, const Args& args) {
  if constexpr (kWithCuda) {
    if (on_cuda(masks)) {
      return on_current_stream(masks, [&](void* stream) { cuda::centers(args, stream); });
    }
  }
  const auto partial_sums = CONDINST_CPU_KERNEL(partial_sums);
  torch::stable::parallel_for(
      0, task_count(args), 1, [&](int64_t begin, int64_t end) { partial_sums(args, begin, end); });
  CONDINST_CPU_KERNEL(finish)(args, 0, args.num_masks);
}

// masks [G, H, W] -> centres [G, 2]
Tensor forward(const Tensor& masks) {
  STD_TORCH_CHECK(masks.dim() == 3 && is_side(masks.size(1)) && is_side(masks.size(2)),
                  "masks: expected [G, H, W] with sides of at most ", kMostSide);
  STD_TORCH_CHECK(element_type(masks) == ElementType::uint8, "masks: expected dtype bool or uint8");
  // Checks the largest possible sum of positions, with pixels of 255.
  product("masks", {masks.size(1), masks.size(2), std::max(masks.size(1), masks.size(2)), 255});
  const Tensor dense_masks = dense(masks);
  const Tensor centers = torch::stable::new_empty(masks, {masks.size(0), 2}, ScalarType::Float);

  Args args{};
  args.masks = static_cast<const uint8_t*>(dense_masks.const_data_ptr());
  args.num_masks = masks.size(0);
  args.height = masks.size(1);
  args.width = masks.size(2);
  const int64_t band_pixels = on_cuda(masks) ? cuda::kBandPixels : kCpuBandPixels;
  args.rows_per_band = args.width > 0 && args.width < band_pixels ? band_pixels / args.width : 1;
  args.bands = args.width > 0 ? (args.height + args.rows_per_band - 1) / args.rows_per_band : 0;
  const Tensor partial = torch::stable::new_empty(masks, {args.num_masks, args.bands, 3}, ScalarType::Long);
  args.partial = static_cast<Sums*>(partial.mutable_data_ptr());
  args.centers = static_cast<float*>(centers.mutable_data_ptr());
  run(masks, args);
  return centers;
}

}  // namespace
}  // namespace condinst::mask_centers

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def("mask_centers(Tensor masks) -> Tensor");
}

CONDINST_LIBRARY_IMPL(m) {
  m.impl("mask_centers", TORCH_BOX(&condinst::mask_centers::forward));
}
