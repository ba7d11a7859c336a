// select_top_locations: schema, checks, allocation, dispatch, only for the rule "top". condinst/ops checks what users pass;
// the checks here are defensive checks for direct callers of torch.ops.condinst.
#include "../kernels/select_top_locations/select_top_locations_cpu.h"
#include "../kernels/select_top_locations/select_top_locations_cuda.h"

#include <torch/csrc/stable/ops.h>

#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "registration.h"

namespace condinst::select_top_locations {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check_inputs(const Tensor& class_logits, const Tensor& centerness_logits, const Tensor& object_indices) {
  STD_TORCH_CHECK(class_logits.dim() == 3 && class_logits.size(2) >= 1, "class_logits: expected [B, L, C], C >= 1");
  STD_TORCH_CHECK(class_logits.size(1) < int64_t{1} << 32, "class_logits: expected less than 2^32 locations");
  STD_TORCH_CHECK(element_type(class_logits) != ElementType::uint8, "class_logits: expected a floating dtype");
  STD_TORCH_CHECK(centerness_logits.scalar_type() == ScalarType::Float, "centerness_logits: expected float32");
  STD_TORCH_CHECK(object_indices.scalar_type() == ScalarType::Long, "object_indices: expected int64");
  for (const Tensor* tensor : {&centerness_logits, &object_indices}) {
    STD_TORCH_CHECK(tensor->dim() == 2 && tensor->size(0) == class_logits.size(0) &&
                        tensor->size(1) == class_logits.size(1) && same_device(*tensor, class_logits),
                    "centerness_logits, object_indices: expected [B, L] on the device of class_logits");
  }
}

void run(const Tensor& class_logits, const Args& args) {
  if constexpr (kWithCuda) {
    if (on_cuda(class_logits)) {
      return on_current_stream(class_logits, [&](void* stream) { cuda::select(args, stream); });
    }
  }
  const auto select = CONDINST_CPU_KERNEL(select);
  torch::stable::parallel_for(0, args.num_images, 1, [&](int64_t begin, int64_t end) { select(args, begin, end); });
}

// class_logits [B, L, C], centerness_logits [B, L], object_indices [B, L] -> selected [B, L]
Tensor forward(const Tensor& class_logits, const Tensor& centerness_logits, const Tensor& object_indices,
               int64_t num_objects, int64_t max_locations) {
  check_inputs(class_logits, centerness_logits, object_indices);
  STD_TORCH_CHECK(num_objects >= 0 && max_locations >= 1, "num_objects, max_locations: expected at least 0 and 1");
  const Tensor dense_class = dense(class_logits);
  const Tensor dense_centerness = dense(centerness_logits);
  const Tensor dense_objects = dense(object_indices);
  const int64_t num_images = class_logits.size(0), num_locations = class_logits.size(1);
  const auto scratch = [&](int64_t per_image) {
    return torch::stable::new_empty(object_indices, {num_images, per_image});
  };
  const Tensor counts = scratch(num_objects), starts = scratch(num_objects), keys = scratch(num_locations);
  const Tensor selected = torch::stable::new_empty(object_indices, {num_images, num_locations}, ScalarType::Bool);

  Args args{};
  args.class_logits = dense_class.const_data_ptr();
  args.class_type = element_type(class_logits);
  args.centerness_logits = static_cast<const float*>(dense_centerness.const_data_ptr());
  args.object_indices = static_cast<const int64_t*>(dense_objects.const_data_ptr());
  args.num_images = num_images;
  args.num_locations = num_locations;
  args.num_classes = class_logits.size(2);
  args.num_objects = num_objects;
  args.max_locations = max_locations;
  args.counts = static_cast<int64_t*>(counts.mutable_data_ptr());
  args.starts = static_cast<int64_t*>(starts.mutable_data_ptr());
  args.keys = static_cast<uint64_t*>(keys.mutable_data_ptr());
  args.selected = static_cast<bool*>(selected.mutable_data_ptr());
  run(class_logits, args);
  return selected;
}

}  // namespace
}  // namespace condinst::select_top_locations

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "select_top_locations(Tensor class_logits, Tensor centerness_logits, Tensor object_indices, "
      "SymInt num_objects, int max_locations) -> Tensor");
}

CONDINST_LIBRARY_IMPL(m) {
  m.impl("select_top_locations", TORCH_BOX(&condinst::select_top_locations::forward));
}
