// fcos_targets: schema, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are
// defensive checks for direct callers of torch.ops.condinst.
#include "../kernels/fcos_targets/fcos_targets_cpu.h"
#include "../kernels/fcos_targets/fcos_targets_cuda.h"

#include <torch/csrc/stable/ops.h>

#include <optional>
#include <tuple>
#include <vector>

#include "cuda.h"
#include "dense.h"
#include "registration.h"
#include "sizes.h"

namespace condinst::fcos_targets {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check_inputs(const Tensor& boxes, const Tensor& labels, const std::optional<Tensor>& centers,
                  const Tensor& image_indices) {
  STD_TORCH_CHECK(boxes.scalar_type() == ScalarType::Float && boxes.dim() == 2 && boxes.size(1) == 4,
                  "boxes: expected [G, 4] float32");
  for (const Tensor* indices : {&labels, &image_indices}) {
    STD_TORCH_CHECK(indices->scalar_type() == ScalarType::Long && same_device(*indices, boxes) &&
                        indices->dim() == 1 && indices->size(0) == boxes.size(0),
                    "labels, image_indices: expected [G] int64 on the device of boxes");
  }
  STD_TORCH_CHECK(!centers.has_value() ||
                      (centers->scalar_type() == ScalarType::Float && same_device(*centers, boxes) &&
                       centers->dim() == 2 && centers->size(0) == boxes.size(0) && centers->size(1) == 2),
                  "centers: expected [G, 2] float32 on the device of boxes");
}

// Fills the levels and the number of locations.
void set_levels(Args& args, const std::vector<int64_t>& level_sizes, const std::vector<int64_t>& strides,
                const std::vector<int64_t>& sizes_of_interest, double radius) {
  const size_t count = strides.size();
  STD_TORCH_CHECK(count >= 1 && count <= kMaxLevels, "strides: expected 1 to ", kMaxLevels, " levels, got ", count);
  STD_TORCH_CHECK(level_sizes.size() == 2 * count, "level_sizes: expected height and width of each level");
  STD_TORCH_CHECK(sizes_of_interest.size() + 1 == count, "sizes_of_interest: expected one less than strides");
  args.num_levels = static_cast<int>(count);
  args.num_locations = 0;
  for (size_t i = 0; i < count; ++i) {
    Level& level = args.levels[i];
    level.first = args.num_locations;
    level.height = level_sizes[2 * i];
    level.width = level_sizes[2 * i + 1];
    level.stride = strides[i];
    STD_TORCH_CHECK(is_side(level.height) && is_side(level.width) && is_stride(level.stride),
                    "level_sizes, strides: expected sizes of 0 .. ", kMostSide, " and strides of 1 .. ", kMostSide);
    level.lowest = i == 0 ? -1.0f : static_cast<float>(sizes_of_interest[i - 1]);
    level.highest = i + 1 == count ? 1e8f : static_cast<float>(sizes_of_interest[i]);
    level.reach = static_cast<float>(radius) * static_cast<float>(level.stride);
    args.num_locations =
        sum("level_sizes", args.num_locations, product("level_sizes", {level.height, level.width}));
  }
}

void run(const Tensor& boxes, const Args& args) {
  if constexpr (kWithCuda) {
    if (on_cuda(boxes)) {
      return on_current_stream(boxes, [&](void* stream) { cuda::targets(args, stream); });
    }
  }
  const auto targets = CONDINST_CPU_KERNEL(targets);
  torch::stable::parallel_for(0, product("num_images", {args.num_images, bands_per_image(args)}), 1,
                              [&](int64_t begin, int64_t end) { targets(args, begin, end); });
}

// boxes [G, 4], labels [G], centers [G, 2] or none, image_indices [G]
// -> labels [B, L], distances [B, L, 4], centerness [B, L], object_indices [B, L]
std::tuple<Tensor, Tensor, Tensor, Tensor> forward(const Tensor& boxes, const Tensor& labels,
                                                   std::optional<Tensor> centers, const Tensor& image_indices,
                                                   int64_t num_images, int64_t num_classes,
                                                   std::vector<int64_t> level_sizes, std::vector<int64_t> strides,
                                                   std::vector<int64_t> sizes_of_interest, double radius) {
  check_inputs(boxes, labels, centers, image_indices);
  STD_TORCH_CHECK(num_images >= 0, "num_images: expected at least 0, got ", num_images);
  Args args{};
  set_levels(args, level_sizes, strides, sizes_of_interest, radius);
  const Tensor dense_boxes = dense(boxes);
  const Tensor dense_labels = dense(labels);
  const Tensor dense_images = dense(image_indices);
  const std::optional<Tensor> dense_centers = dense(centers);
  if (dense_centers.has_value()) {
    args.centers = static_cast<const float*>(dense_centers->const_data_ptr());
  }
  args.boxes = static_cast<const float*>(dense_boxes.const_data_ptr());
  args.labels = static_cast<const int64_t*>(dense_labels.const_data_ptr());
  args.image_indices = static_cast<const int64_t*>(dense_images.const_data_ptr());
  args.num_objects = boxes.size(0);
  args.num_images = num_images;
  args.num_classes = num_classes;

  const int64_t count = args.num_locations;
  const Tensor location_labels = torch::stable::new_empty(labels, {num_images, count});
  const Tensor distances = torch::stable::new_empty(boxes, {num_images, count, 4});
  const Tensor centerness = torch::stable::new_empty(boxes, {num_images, count});
  const Tensor object_indices = torch::stable::new_empty(labels, {num_images, count});
  args.location_labels = static_cast<int64_t*>(location_labels.mutable_data_ptr());
  args.distances = static_cast<float*>(distances.mutable_data_ptr());
  args.centerness = static_cast<float*>(centerness.mutable_data_ptr());
  args.object_indices = static_cast<int64_t*>(object_indices.mutable_data_ptr());
  run(boxes, args);
  return {location_labels, distances, centerness, object_indices};
}

}  // namespace
}  // namespace condinst::fcos_targets

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "fcos_targets(Tensor boxes, Tensor labels, Tensor? centers, Tensor image_indices, "
      "SymInt num_images, int num_classes, SymInt[] level_sizes, int[] strides, int[] sizes_of_interest, float radius) "
      "-> (Tensor location_labels, Tensor distances, Tensor centerness, Tensor object_indices)");
}

CONDINST_LIBRARY_IMPL(m) {
  m.impl("fcos_targets", TORCH_BOX(&condinst::fcos_targets::forward));
}
