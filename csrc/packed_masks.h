// Packed masks in the form that mask_nms and matrix_nms read.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include "../kernels/mask_pairs/mask_pairs.h"
#include "dense.h"
#include "sizes.h"

namespace condinst::mask_pairs {

// Owns the memory that `masks` points to; the summaries are not filled.
class PackedMasks {
 public:
  explicit PackedMasks(const torch::stable::Tensor& packed) {
    using torch::headeronly::ScalarType;
    STD_TORCH_CHECK(packed.dim() == 2 && packed.scalar_type() == ScalarType::Long, "masks: expected [N, W] int64");
    bits_ = dense(packed);
    summaries_ = torch::stable::new_empty(
        packed, {product("masks", {packed.size(0), static_cast<int64_t>(sizeof(Summary))})}, ScalarType::Byte);
    masks.bits = static_cast<const uint64_t*>(bits_.const_data_ptr());
    masks.summaries = static_cast<Summary*>(summaries_.mutable_data_ptr());
    masks.count = packed.size(0);
    masks.words = packed.size(1);
  }
  PackedMasks(const PackedMasks&) = delete;

  Masks masks{};

 private:
  torch::stable::Tensor bits_, summaries_;
};

}  // namespace condinst::mask_pairs
