// decode_detections: schema, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are
// defensive checks for direct callers of torch.ops.condinst.
#include "../kernels/decode_detections/decode_detections_cpu.h"
#include "../kernels/decode_detections/decode_detections_cuda.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "registration.h"
#include "sizes.h"

namespace condinst::decode_detections {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// boxes [B, K, 4], scores [B, K], labels [B, K], location_indices [B, K], counts [B]
using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

void check_inputs(const Tensor& class_logits, const Tensor& centerness_logits, const Tensor& box_distances,
                  const std::vector<int64_t>& level_sizes, const std::vector<int64_t>& strides, int64_t top_k) {
  STD_TORCH_CHECK(class_logits.dim() == 3 && element_type(class_logits) != ElementType::uint8,
                  "class_logits: expected [B, L, C] floating");
  const int64_t num_images = class_logits.size(0), num_locations = class_logits.size(1);
  STD_TORCH_CHECK(centerness_logits.dim() == 2 && centerness_logits.size(0) == num_images &&
                      centerness_logits.size(1) == num_locations && same_device(centerness_logits, class_logits),
                  "centerness_logits: expected [B, L] on the device of class_logits");
  STD_TORCH_CHECK(box_distances.dim() == 3 && box_distances.size(0) == num_images &&
                      box_distances.size(1) == num_locations && box_distances.size(2) == 4 &&
                      same_device(box_distances, class_logits),
                  "box_distances: expected [B, L, 4] on the device of class_logits");
  STD_TORCH_CHECK(level_sizes.size() == 2 * strides.size() && strides.size() <= kMaxLevels,
                  "level_sizes: expected height and width of at most ", kMaxLevels, " levels, and as many strides");
  int64_t cells = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    const int64_t height = level_sizes[2 * i], width = level_sizes[2 * i + 1];
    STD_TORCH_CHECK(is_side(height) && is_side(width) && is_stride(strides[i]),
                    "level_sizes, strides: expected sizes of 0 .. ", kMostSide, " and strides of 1 .. ", kMostSide);
    STD_TORCH_CHECK(product("level_sizes", {height, width, class_logits.size(2)}) < (int64_t{1} << 32),
                    "class_logits: expected less than 2^32 pairs of location and class in a level");
    cells = sum("level_sizes", cells, height * width);
  }
  STD_TORCH_CHECK(cells == num_locations, "level_sizes: expected ", num_locations, " cells, got ", cells);
  STD_TORCH_CHECK(top_k >= 1, "top_k: expected at least 1, got ", top_k);
}

// Fills levels, bands and places. On the CPU a band consists of whole cells, so that it begins with the first class of a
// cell.
void set_levels(Args& args, const std::vector<int64_t>& level_sizes, const std::vector<int64_t>& strides,
                int64_t elements_of_band, bool whole_cells) {
  const int64_t num_classes = std::max<int64_t>(args.num_classes, 1);
  args.band_cells = std::max<int64_t>(elements_of_band / num_classes, 1);
  const int64_t band = whole_cells ? args.band_cells * num_classes : elements_of_band;
  args.num_levels = static_cast<int>(strides.size());
  int64_t location = 0;
  for (int i = 0; i < args.num_levels; ++i) {
    Level& level = args.levels[i];
    level.cells = level_sizes[2 * i] * level_sizes[2 * i + 1];
    level.width = level_sizes[2 * i + 1];
    level.stride = strides[i];
    const int64_t elements = level.cells * args.num_classes;
    level.first_location = location;
    level.first_place = args.places;
    level.places = std::min(args.top_k, elements);
    level.first_band = args.bands;
    level.bands = (elements + band - 1) / band;
    location += level.cells;
    args.places += level.places;
    args.bands += level.bands;
  }
}

// About 0.1 ms of work if few pairs are candidates; a thread gets at least this much.
constexpr int64_t kBandsAtATime = 16;

void run_on_cpu(const Tensor& like, const Args& args) {
  const int64_t capacity = band_capacity(args);
  const Tensor keys = torch::stable::new_empty(like, {args.num_images, args.bands, capacity}, ScalarType::Long);
  const Tensor counts = torch::stable::new_empty(like, {args.num_images, args.bands}, ScalarType::Long);
  const Lists lists{static_cast<uint64_t*>(keys.mutable_data_ptr()), static_cast<int64_t*>(counts.mutable_data_ptr()),
                    capacity};
  const auto on_threads = [&](int64_t tasks, int64_t at_a_time, auto kernel) {
    torch::stable::parallel_for(0, tasks, at_a_time,
                                [&](int64_t begin, int64_t end) { kernel(args, lists, begin, end); });
  };
  on_threads(args.num_images * args.bands, kBandsAtATime, CONDINST_CPU_KERNEL(collect));
  on_threads(args.num_images * args.num_levels, args.num_levels, CONDINST_CPU_KERNEL(select));
  CONDINST_CPU_KERNEL(write)(args, lists, 0, args.num_images);
}

void run_on_cuda(const Tensor& like, const Args& args) {
  const int64_t capacity = cuda::band_capacity(args);
  const Tensor keys = torch::stable::new_empty(like, {args.num_images, args.bands, capacity}, ScalarType::Long);
  const Tensor counts = torch::stable::new_zeros(like, {args.num_images, args.num_levels}, ScalarType::Int);
  const Tensor selected = torch::stable::new_empty(like, {args.num_images, args.places}, ScalarType::Long);
  const cuda::Lists lists{static_cast<uint64_t*>(keys.mutable_data_ptr()),
                          static_cast<int32_t*>(counts.mutable_data_ptr()),
                          static_cast<uint64_t*>(selected.mutable_data_ptr()), capacity};
  on_current_stream(like, [&](void* stream) { cuda::decode(args, lists, stream); });
}

// class_logits [B, L, C], centerness_logits [B, L], box_distances [B, L, 4], height and width of each level, strides
Results decode_detections(const Tensor& class_logits, const Tensor& centerness_logits, const Tensor& box_distances,
                          const std::vector<int64_t>& level_sizes, const std::vector<int64_t>& strides,
                          double score_threshold, int64_t top_k, bool threshold_with_centerness) {
  check_inputs(class_logits, centerness_logits, box_distances, level_sizes, strides, top_k);
  // float64 is rounded to float32, as in the reference; half precision is not converted
  const Tensor logits = class_logits.scalar_type() == ScalarType::Double ? dense(class_logits, ScalarType::Float)
                                                                         : dense(class_logits);
  const Tensor centerness = dense(centerness_logits, ScalarType::Float);
  const Tensor distances = dense(box_distances, ScalarType::Float);
  const bool with_cuda = kWithCuda && on_cuda(class_logits);

  Args args{};
  args.class_logits = logits.const_data_ptr();
  args.logits_type = element_type(logits);
  args.centerness_logits = static_cast<const float*>(centerness.const_data_ptr());
  args.box_distances = static_cast<const float*>(distances.const_data_ptr());
  args.num_images = logits.size(0);
  args.num_locations = logits.size(1);
  args.num_classes = logits.size(2);
  args.top_k = top_k;
  args.score_threshold = static_cast<float>(score_threshold);
  args.product_threshold = static_cast<float>(score_threshold * score_threshold);
  args.threshold_with_centerness = threshold_with_centerness;
  set_levels(args, level_sizes, strides, with_cuda ? cuda::kBandElements : kBandElements, !with_cuda);

  const Tensor boxes = torch::stable::new_empty(logits, {args.num_images, args.places, 4}, ScalarType::Float);
  const Tensor scores = torch::stable::new_empty(logits, {args.num_images, args.places}, ScalarType::Float);
  const Tensor labels = torch::stable::new_empty(logits, {args.num_images, args.places}, ScalarType::Long);
  const Tensor location_indices = torch::stable::new_empty(logits, {args.num_images, args.places}, ScalarType::Long);
  const Tensor counts = torch::stable::new_zeros(logits, {args.num_images}, ScalarType::Long);
  args.boxes = static_cast<float*>(boxes.mutable_data_ptr());
  args.scores = static_cast<float*>(scores.mutable_data_ptr());
  args.labels = static_cast<int64_t*>(labels.mutable_data_ptr());
  args.location_indices = static_cast<int64_t*>(location_indices.mutable_data_ptr());
  args.counts = static_cast<int64_t*>(counts.mutable_data_ptr());

  if constexpr (kWithCuda) {
    if (with_cuda) {
      run_on_cuda(logits, args);
      return {boxes, scores, labels, location_indices, counts};
    }
  }
  run_on_cpu(logits, args);
  return {boxes, scores, labels, location_indices, counts};
}

}  // namespace
}  // namespace condinst::decode_detections

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "decode_detections(Tensor class_logits, Tensor centerness_logits, Tensor box_distances, "
      "SymInt[] level_sizes, int[] strides, float score_threshold, int top_k, bool threshold_with_centerness) "
      "-> (Tensor boxes, Tensor scores, Tensor labels, Tensor location_indices, Tensor counts)");
}

CONDINST_LIBRARY_IMPL(m) {
  m.impl("decode_detections", TORCH_BOX(&condinst::decode_detections::decode_detections));
}
