// Converts tensors to the form that the kernels read.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>

namespace condinst {

// The tensor, contiguous and at a multiple of the size of an element. PyTorch guarantees neither: torch.frombuffer makes
// tensors at any address, for which kernels would have undefined behaviour and a GPU would fault. A tensor that already has
// this form is returned without a dispatch.
inline torch::stable::Tensor dense(const torch::stable::Tensor& tensor) {
  const torch::stable::Tensor result = tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
  const auto address = reinterpret_cast<uintptr_t>(result.const_data_ptr());
  return address % result.element_size() == 0 ? result : torch::stable::clone(result);
}

inline std::optional<torch::stable::Tensor> dense(const std::optional<torch::stable::Tensor>& tensor) {
  return tensor.has_value() ? std::optional<torch::stable::Tensor>(dense(*tensor)) : std::nullopt;
}

// The same, in another dtype.
inline torch::stable::Tensor dense(const torch::stable::Tensor& tensor, torch::headeronly::ScalarType type) {
  return dense(tensor.scalar_type() == type ? tensor : torch::stable::to(tensor, type));
}

}  // namespace condinst
