// Converts dtypes of PyTorch to element types of the kernels.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include "../kernels/common/element_type.h"

namespace condinst {

inline ElementType element_type(const torch::stable::Tensor& tensor) {
  using torch::headeronly::ScalarType;
  switch (tensor.scalar_type()) {
    case ScalarType::Bool:  // one byte, 0 or 1
    case ScalarType::Byte:
      return ElementType::uint8;
    case ScalarType::Half:
      return ElementType::float16;
    case ScalarType::BFloat16:
      return ElementType::bfloat16;
    case ScalarType::Float:
      return ElementType::float32;
    case ScalarType::Double:
      return ElementType::float64;
    default:
      STD_TORCH_CHECK(false, "expected dtype bool, uint8, float16, bfloat16, float32 or float64");
  }
}

}  // namespace condinst
