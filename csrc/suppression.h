// Code that nms, mask_nms and matrix_nms share: checks, conversion, allocation, and the calls for sorting, groups and the
// best of each image. condinst/ops checks what users pass; the checks here are defensive checks for direct callers of
// torch.ops.condinst.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <tuple>

#include "../kernels/suppression/suppression_cpu.h"
#include "../kernels/suppression/suppression_cuda.h"
#include "cuda.h"
#include "dense.h"

namespace condinst::suppression {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The options in the order of the schemas.
struct Options {
  int64_t max_detections, num_images, capacity;
};

// Scores as float32, labels and images in the form that the kernels read, and the results. Owns the memory that `args`
// points to.
class Candidates {
 public:
  // like: the boxes or masks [N, ...], on the device of all tensors
  Candidates(const Tensor& like, const Tensor& scores, const Tensor& labels, const Tensor& image_indices,
             const Options& options) {
    const int64_t num_candidates = like.size(0);
    STD_TORCH_CHECK(num_candidates < (int64_t{1} << 31), "expected less than 2^31 candidates, got ", num_candidates);
    for (const Tensor* tensor : {&scores, &labels, &image_indices}) {
      STD_TORCH_CHECK(tensor->dim() == 1 && tensor->size(0) == num_candidates && same_device(*tensor, like),
                      "scores, labels, image_indices: expected [", num_candidates, "] on one device");
    }
    STD_TORCH_CHECK(labels.scalar_type() == ScalarType::Long && image_indices.scalar_type() == ScalarType::Long,
                    "labels, image_indices: expected int64");
    STD_TORCH_CHECK(options.num_images >= 0 && options.max_detections >= 0 && options.capacity >= 0,
                    "num_images, max_detections, capacity: expected at least 0");
    scores_ = dense(scores, ScalarType::Float);
    labels_ = dense(labels);
    image_indices_ = dense(image_indices);
    indices = torch::stable::new_empty(labels, {options.num_images, options.capacity}, ScalarType::Long);
    counts = torch::stable::new_empty(labels, {options.num_images}, ScalarType::Long);

    args.scores = static_cast<const float*>(scores_.const_data_ptr());
    args.labels = static_cast<const int64_t*>(labels_.const_data_ptr());
    args.image_indices = static_cast<const int64_t*>(image_indices_.const_data_ptr());
    args.num_candidates = num_candidates;
    args.num_images = options.num_images;
    args.max_detections = options.max_detections;
    args.capacity = options.capacity;
    args.indices = static_cast<int64_t*>(indices.mutable_data_ptr());
    args.counts = static_cast<int64_t*>(counts.mutable_data_ptr());
  }
  Candidates(const Candidates&) = delete;

  // Scratch memory on the device of the candidates.
  Tensor scratch(int64_t count, ScalarType type) const { return torch::stable::new_empty(labels_, {count}, type); }

  Args args{};
  Tensor indices, counts;

 private:
  Tensor scores_, labels_, image_indices_;
};

// The number of groups that have about `pairs` pairs in total.
inline int64_t groups_at_a_time(const Sorted& sorted, int64_t pairs) {
  double total = 1;
  for (int64_t group = 0; group < sorted.num_groups; ++group) {
    const double size = static_cast<double>(sorted.group_starts[group + 1] - sorted.group_starts[group]);
    total += size * size / 2;
  }
  return static_cast<int64_t>(std::min(static_cast<double>(pairs) / total, 1.0) * sorted.num_groups) + 1;
}

// Sorts on the CPU, and calls use(sorted) while the scratch memory exists.
template <class Use>
void with_sorted_on_cpu(const Candidates& candidates, const Use& use) {
  const Args& args = candidates.args;
  const Tensor orders = candidates.scratch(3 * args.num_candidates, ScalarType::Int);
  const Tensor group_starts = candidates.scratch(args.num_candidates + 1, ScalarType::Long);
  const Tensor kept = candidates.scratch(args.num_candidates, ScalarType::Byte);
  int32_t* order = static_cast<int32_t*>(orders.mutable_data_ptr());
  Sorted sorted{};
  sorted.by_score = order;
  sorted.grouped = order + args.num_candidates;
  sorted.spare = order + 2 * args.num_candidates;
  sorted.group_starts = static_cast<int64_t*>(group_starts.mutable_data_ptr());
  sorted.kept = static_cast<uint8_t*>(kept.mutable_data_ptr());
  CONDINST_CPU_KERNEL(sort_candidates)(args, sorted);
  use(sorted);
}

// Suppression on the CPU. `prepare(sorted)` allocates the memory that the groups need, and returns suppress(begin, end) for
// groups [begin, end): see kernels/suppression/greedy_cpu.h. A thread gets at least `pairs_per_thread` pairs.
template <class Prepare>
void suppress_on_cpu(const Candidates& candidates, int64_t pairs_per_thread, const Prepare& prepare) {
  const Args& args = candidates.args;
  for (int64_t i = 0; i < args.num_candidates; ++i) {
    const int64_t image = args.image_indices[i];
    STD_TORCH_CHECK(image >= -1 && image < args.num_images, "image_indices: expected numbers in -1 .. ",
                    args.num_images - 1, ", got ", image);
  }
  with_sorted_on_cpu(candidates, [&](const Sorted& sorted) {
    const auto suppress = prepare(sorted);
    torch::stable::parallel_for(0, sorted.num_groups, groups_at_a_time(sorted, pairs_per_thread), suppress);
    CONDINST_CPU_KERNEL(write_best)(args, sorted);
  });
}

// Sorts on CUDA, and calls use(sorted, stream) while the scratch memory exists.
template <class Use>
void with_sorted_on_cuda(const Candidates& candidates, const Use& use) {
  const int64_t count = candidates.args.num_candidates;
  const Tensor keys = candidates.scratch(2 * count * static_cast<int64_t>(sizeof(cuda::Key)), ScalarType::Byte);
  const Tensor removed = candidates.scratch(count, ScalarType::Byte);
  const Tensor groups = candidates.scratch(count + 1, ScalarType::Int);
  cuda::Sorted sorted{};
  sorted.keys = static_cast<cuda::Key*>(keys.mutable_data_ptr());
  sorted.spare = sorted.keys + count;
  sorted.removed = static_cast<uint8_t*>(removed.mutable_data_ptr());
  sorted.groups = static_cast<int32_t*>(groups.mutable_data_ptr());
  sorted.num_groups = sorted.groups + count;
  on_current_stream(candidates.counts, [&](void* stream) {
    cuda::sort_candidates(candidates.args, sorted, stream);
    use(sorted, stream);
  });
}

// Suppression on CUDA. suppress(sorted, stream) launches the kernels that fill `removed`: see
// kernels/suppression/greedy_cuda.h.
template <class Suppress>
void suppress_on_cuda(const Candidates& candidates, const Suppress& suppress) {
  with_sorted_on_cuda(candidates, [&](cuda::Sorted& sorted, void* stream) {
    suppress(sorted, stream);
    cuda::write_best(candidates.args, sorted, stream);
  });
}

}  // namespace condinst::suppression
