// nms: schema, checks, allocation, dispatch. csrc/suppression.h has the code that mask_nms shares.
#include "../kernels/nms/nms_cpu.h"
#include "../kernels/nms/nms_cuda.h"

#include <cmath>
#include <limits>

#include "registration.h"
#include "suppression.h"

namespace condinst::nms {
namespace {

using suppression::Candidates;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// About a millisecond of work.
constexpr int64_t kPairsPerThread = int64_t{1} << 22;

// For a float x, x > at_most(y) is x > y.
float at_most(double value) {
  const float nearest = static_cast<float>(value);
  return static_cast<double>(nearest) > value ? std::nextafter(nearest, -std::numeric_limits<float>::infinity())
                                              : nearest;
}

// boxes [N, 4], scores [N], labels [N], image_indices [N] -> indices [num_images, capacity], counts [num_images]
std::tuple<Tensor, Tensor> nms(const Tensor& boxes, const Tensor& scores, const Tensor& labels,
                               const Tensor& image_indices, double iou_threshold, int64_t max_detections,
                               int64_t num_images, int64_t capacity) {
  STD_TORCH_CHECK(boxes.dim() == 2 && boxes.size(1) == 4, "boxes: expected [N, 4]");
  STD_TORCH_CHECK(iou_threshold >= 0, "iou_threshold: expected at least 0, got ", iou_threshold);
  const Candidates candidates(boxes, scores, labels, image_indices, {max_detections, num_images, capacity});
  const Tensor dense_boxes = dense(boxes, ScalarType::Float);
  Args args{};
  args.boxes = static_cast<const float*>(dense_boxes.const_data_ptr());
  args.iou_threshold = at_most(iou_threshold);

  if constexpr (kWithCuda) {
    if (on_cuda(boxes)) {
      suppression::suppress_on_cuda(candidates, [&](const suppression::cuda::Sorted& sorted, void* stream) {
        cuda::suppress(args, sorted, candidates.args.num_candidates, stream);
      });
      return {candidates.indices, candidates.counts};
    }
  }
  Tensor scratch;
  suppression::suppress_on_cpu(candidates, kPairsPerThread, [&](const suppression::Sorted& sorted) {
    scratch = candidates.scratch(scratch_floats(sorted.num_sorted, sorted.num_groups), ScalarType::Float);
    float* floats = static_cast<float*>(scratch.mutable_data_ptr());
    const auto suppress = CONDINST_CPU_KERNEL(suppress);
    return [=, &args, &sorted](int64_t begin, int64_t end) { suppress(args, sorted, floats, begin, end); };
  });
  return {candidates.indices, candidates.counts};
}

}  // namespace
}  // namespace condinst::nms

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "nms(Tensor boxes, Tensor scores, Tensor labels, Tensor image_indices, float iou_threshold, int max_detections, "
      "SymInt num_images, SymInt capacity) -> (Tensor indices, Tensor counts)");
}

CONDINST_LIBRARY_IMPL(m) { m.impl("nms", TORCH_BOX(&condinst::nms::nms)); }
