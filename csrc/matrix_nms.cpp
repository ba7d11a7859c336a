// matrix_nms: schema, checks, allocation, dispatch.
#include "../kernels/matrix_nms/matrix_nms_cpu.h"
#include "../kernels/matrix_nms/matrix_nms_cuda.h"

#include <algorithm>
#include <limits>
#include <string>

#include "packed_masks.h"
#include "registration.h"
#include "suppression.h"

namespace condinst::matrix_nms {
namespace {

using suppression::Candidates;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Calls run(pass) for all `count` columns, `columns` at a time; no group has more than `longest_group` candidates.
template <class Run>
void for_each_pass(const Candidates& candidates, int64_t count, int64_t columns, int64_t longest_group,
                   const Run& run) {
  const int64_t pairs = product("masks", {std::min(columns, count), longest_group});
  const Tensor ious = candidates.scratch(pairs, ScalarType::Float);
  const Tensor highest = candidates.scratch(count, ScalarType::Float);
  Pass pass{0, 0, static_cast<float*>(ious.mutable_data_ptr()), longest_group,
            static_cast<float*>(highest.mutable_data_ptr())};
  for (; pass.begin < count; pass.begin = pass.end) {
    pass.end = std::min(pass.begin + columns, count);
    run(pass);
  }
}

void on_cuda_device(const Args& args, const Candidates& candidates) {
  suppression::with_sorted_on_cuda(candidates, [&](const suppression::cuda::Sorted& sorted, void* stream) {
    cuda::summarize(args, stream);
    // only the device knows the number of candidates and their groups
    for_each_pass(candidates, args.masks.count, cuda::kPassColumns, args.masks.count, [&](const Pass& pass) {
      cuda::columns(args, sorted, pass, stream);
      cuda::factors(args, sorted, pass, stream);
    });
  });
}

void on_cpu(const Args& args, const Candidates& candidates) {
  const auto summarize = CONDINST_CPU_KERNEL(summarize);
  const auto columns = CONDINST_CPU_KERNEL(columns);
  const auto factors = CONDINST_CPU_KERNEL(factors);
  torch::stable::parallel_for(0, args.masks.count, 64,
                              [&](int64_t begin, int64_t end) { summarize(args, begin, end); });
  suppression::with_sorted_on_cpu(candidates, [&](const suppression::Sorted& sorted) {
    int64_t longest_group = 0;
    for (int64_t group = 0; group < sorted.num_groups; ++group) {
      longest_group = std::max(longest_group, sorted.group_starts[group + 1] - sorted.group_starts[group]);
    }
    for_each_pass(candidates, sorted.num_sorted, kPassColumns, longest_group, [&](const Pass& pass) {
      torch::stable::parallel_for(0, tile_count(pass), 1, [&](int64_t begin, int64_t end) {
        columns(args, sorted, pass, begin, end);
      });
      torch::stable::parallel_for(pass.begin, pass.end, kTile, [&](int64_t begin, int64_t end) {
        factors(args, sorted, pass, begin, end);
      });
    });
  });
}

// masks [N, W], scores [N], labels [N], image_indices [N] -> scores [N] float32
Tensor forward(const Tensor& masks, const Tensor& scores, const Tensor& labels, const Tensor& image_indices,
               const std::string& kernel, double sigma) {
  STD_TORCH_CHECK(kernel == "gaussian" || kernel == "linear", "kernel: expected gaussian or linear; got '", kernel,
                  "'");
  const mask_pairs::PackedMasks packed(masks);
  Candidates candidates(masks, scores, labels, image_indices, {0, 0, 0});
  candidates.args.num_images = std::numeric_limits<int64_t>::max();  // any image index is valid
  const Tensor decayed = torch::stable::new_zeros(labels, {packed.masks.count}, ScalarType::Float);
  const Args args{packed.masks, candidates.args.scores, kernel == "gaussian", static_cast<float>(sigma),
                  static_cast<float*>(decayed.mutable_data_ptr())};
  if constexpr (kWithCuda) {
    if (on_cuda(masks)) {
      on_cuda_device(args, candidates);
      return decayed;
    }
  }
  on_cpu(args, candidates);
  return decayed;
}

}  // namespace
}  // namespace condinst::matrix_nms

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "matrix_nms(Tensor masks, Tensor scores, Tensor labels, Tensor image_indices, str kernel, float sigma) -> "
      "Tensor");
}

CONDINST_LIBRARY_IMPL(m) { m.impl("matrix_nms", TORCH_BOX(&condinst::matrix_nms::forward)); }
