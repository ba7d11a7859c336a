// pack_masks: schema, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are defensive
// checks for direct callers of torch.ops.condinst.
#include "../kernels/pack_masks/pack_masks_cpu.h"
#include "../kernels/pack_masks/pack_masks_cuda.h"

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "registration.h"
#include "sizes.h"

namespace condinst::pack_masks {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The threshold in PyTorch's comparison with a tensor of this type: rounded to the type, and infinite beyond its range.
double rounded(double threshold, ElementType type) {
  const float narrow = static_cast<float>(threshold);
  switch (type) {
    case ElementType::float16:
      return static_cast<float>(c10::Half(narrow));
    case ElementType::bfloat16:
      return static_cast<float>(c10::BFloat16(narrow));
    case ElementType::float32:
      return narrow;
    default:
      return threshold;
  }
}

void run(const Tensor& masks, const Args& args) {
  if constexpr (kWithCuda) {
    if (on_cuda(masks)) {
      return on_current_stream(masks, [&](void* stream) { cuda::pack(args, stream); });
    }
  }
  const auto pack = CONDINST_CPU_KERNEL(pack);
  torch::stable::parallel_for(0, word_count(args), kCpuWords,
                              [&](int64_t begin, int64_t end) { pack(args, begin, end); });
}

// masks [N, H, W] -> words [N, ceil(H * W / 64)]
Tensor forward(const Tensor& masks, double threshold) {
  STD_TORCH_CHECK(masks.dim() == 3 && is_side(masks.size(1)) && is_side(masks.size(2)),
                  "masks: expected [N, H, W] with sides of at most ", kMostSide);
  const Tensor dense_masks = dense(masks);
  const int64_t size = masks.size(1) * masks.size(2);
  const Tensor words = torch::stable::new_empty(masks, {masks.size(0), words_of(size)}, ScalarType::Long);

  Args args{};
  args.masks = dense_masks.const_data_ptr();
  args.type = element_type(masks);
  args.count = masks.size(0);
  args.size = size;
  args.mask_words = words_of(size);
  args.threshold = rounded(threshold, args.type);
  args.words = static_cast<uint64_t*>(words.mutable_data_ptr());
  run(masks, args);
  return words;
}

}  // namespace
}  // namespace condinst::pack_masks

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) { m.def("pack_masks(Tensor masks, float threshold) -> Tensor"); }

CONDINST_LIBRARY_IMPL(m) { m.impl("pack_masks", TORCH_BOX(&condinst::pack_masks::forward)); }
