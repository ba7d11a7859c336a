// masks_to_image: schema, allocation, dispatch. csrc/resampling.h has the code that masks_to_rle shares.
#include "../kernels/masks_to_image/masks_to_image_cpu.h"
#include "../kernels/masks_to_image/masks_to_image_cuda.h"

#include <vector>

#include "registration.h"
#include "resampling.h"

namespace condinst::masks_to_image {
namespace {

using namespace resampling;

void run_on_cpu(const Args& args, uint8_t* masks) {
  const auto resize = CONDINST_CPU_KERNEL(resize);
  const int64_t bands = cpu_bands(args, args.rows);
  const int64_t tasks = product("mask_logits", {args.count, bands});
  share_tasks(tasks, [&](const auto& next) {
    std::vector<uint64_t> scratch;
    for (int64_t task = next(); task < tasks; task = next()) {
      const int64_t begin = task % bands * args.rows.pixels / bands;
      const int64_t end = (task % bands + 1) * args.rows.pixels / bands;
      scratch.resize(std::max<size_t>(scratch.size(), scratch_size(args.rows, args.columns, begin, end)));
      const Lines lines = lines_in(scratch.data(), args.rows, args.columns, begin, end);
      resize(args, task / bands, begin, end, lines, masks);
    }
  });
}

// mask_logits [K, h, w] -> masks [K, H, W] bool
Tensor forward(const Tensor& mask_logits, int64_t mask_stride, int64_t network_height, int64_t network_width,
               int64_t output_height, int64_t output_width, double threshold) {
  const Masks inputs(mask_logits,
                     {mask_stride, network_height, network_width, output_height, output_width, threshold});
  const Tensor masks =
      torch::stable::new_empty(mask_logits, {mask_logits.size(0), output_height, output_width}, ScalarType::Bool);
  uint8_t* bytes = static_cast<uint8_t*>(masks.mutable_data_ptr());
  if constexpr (kWithCuda) {
    if (on_cuda(mask_logits)) {
      on_current_stream(mask_logits, [&](void* stream) { cuda::resize(inputs.args, bytes, stream); });
      return masks;
    }
  }
  run_on_cpu(inputs.args, bytes);
  return masks;
}

}  // namespace
}  // namespace condinst::masks_to_image

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "masks_to_image(Tensor mask_logits, int mask_stride, SymInt network_height, SymInt network_width, "
      "SymInt output_height, SymInt output_width, float threshold) -> Tensor");
}

CONDINST_LIBRARY_IMPL(m) {
  m.impl("masks_to_image", TORCH_BOX(&condinst::masks_to_image::forward));
}
