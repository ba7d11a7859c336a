// mask_nms: schema, checks, allocation, dispatch. csrc/suppression.h has the code that nms shares.
#include "../kernels/mask_nms/mask_nms_cpu.h"
#include "../kernels/mask_nms/mask_nms_cuda.h"

#include "packed_masks.h"
#include "registration.h"
#include "suppression.h"

namespace condinst::mask_nms {
namespace {

using suppression::Candidates;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void on_cuda_device(const Args& args, const Candidates& candidates) {
  const int64_t count = args.masks.count;
  const Tensor rivals = candidates.scratch(product("masks", {count, cuda::words_of_row(count)}), ScalarType::Long);
  suppression::suppress_on_cuda(candidates, [&](const suppression::cuda::Sorted& sorted, void* stream) {
    auto* bits = static_cast<cuda::Rivals*>(rivals.mutable_data_ptr());
    cuda::summarize(args, stream);
    cuda::find_rivals(args, sorted, bits, stream);
    cuda::settle_groups(args, sorted, bits, stream);
  });
}

// A pair takes about 40 ns; a thread gets at least so many.
constexpr int64_t kPairsPerThread = 1000;

// Decides a group round by round; see mask_nms_cpu.h.
void settle_large_group(const Args& args, const suppression::Sorted& sorted, const Scratch& scratch, Group group) {
  const auto test_round = CONDINST_CPU_KERNEL(test_round);
  for (int64_t begin = group.begin; begin < group.end; begin += kRound) {
    const int64_t round_end = std::min(begin + kRound, group.end);
    torch::stable::parallel_for(begin, round_end, 1, [&](int64_t first, int64_t last) {
      test_round(args, sorted, scratch, group, first, last);
    });
    CONDINST_CPU_KERNEL(settle_round)(args, sorted, scratch, group, begin, round_end);
  }
}

void on_cpu(const Args& args, const Candidates& candidates) {
  const auto summarize = CONDINST_CPU_KERNEL(summarize);
  torch::stable::parallel_for(0, args.masks.count, 64,
                              [&](int64_t begin, int64_t end) { summarize(args, begin, end); });
  const Tensor survivors = candidates.scratch(args.masks.count, ScalarType::Int);
  const Tensor removed = candidates.scratch(args.masks.count, ScalarType::Byte);
  const Scratch scratch{static_cast<int32_t*>(survivors.mutable_data_ptr()),
                        static_cast<uint8_t*>(removed.mutable_data_ptr())};
  suppression::suppress_on_cpu(candidates, kPairsPerThread, [&](const suppression::Sorted& sorted) {
    for (int64_t index = 0; index < sorted.num_groups; ++index) {
      const Group group{sorted.group_starts[index], sorted.group_starts[index + 1], 0};
      if (group.end - group.begin >= kLargeGroup) {
        settle_large_group(args, sorted, scratch, group);
      }
    }
    const auto settle = CONDINST_CPU_KERNEL(settle_small_groups);
    return [=, &args, &sorted](int64_t begin, int64_t end) { settle(args, sorted, scratch, begin, end); };
  });
}

// masks [N, W], scores [N], labels [N], image_indices [N] -> indices [num_images, capacity], counts [num_images]
std::tuple<Tensor, Tensor> forward(const Tensor& masks, const Tensor& scores, const Tensor& labels,
                                   const Tensor& image_indices, double iou_threshold, int64_t max_detections,
                                   int64_t num_images, int64_t capacity) {
  const mask_pairs::PackedMasks packed(masks);
  STD_TORCH_CHECK(iou_threshold >= 0, "iou_threshold: expected at least 0, got ", iou_threshold);
  const Candidates candidates(masks, scores, labels, image_indices, {max_detections, num_images, capacity});
  // PyTorch compares float32 with a number in float32.
  const Args args{packed.masks, static_cast<float>(iou_threshold)};
  if constexpr (kWithCuda) {
    if (on_cuda(masks)) {
      on_cuda_device(args, candidates);
      return {candidates.indices, candidates.counts};
    }
  }
  on_cpu(args, candidates);
  return {candidates.indices, candidates.counts};
}

}  // namespace
}  // namespace condinst::mask_nms

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "mask_nms(Tensor masks, Tensor scores, Tensor labels, Tensor image_indices, float iou_threshold, "
      "int max_detections, SymInt num_images, SymInt capacity) -> (Tensor indices, Tensor counts)");
}

CONDINST_LIBRARY_IMPL(m) { m.impl("mask_nms", TORCH_BOX(&condinst::mask_nms::forward)); }
