// Tensors as the kernels read them.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>

namespace condinst {

// The tensor, contiguous and at a multiple of the size of an element. PyTorch promises neither: torch.frombuffer makes
// tensors at any address, where kernels would have undefined behaviour and a GPU faults.
inline torch::stable::Tensor dense(const torch::stable::Tensor& tensor) {
  const torch::stable::Tensor result = torch::stable::contiguous(tensor);
  const auto address = reinterpret_cast<uintptr_t>(result.const_data_ptr());
  return address % result.element_size() == 0 ? result : torch::stable::clone(result);
}

inline std::optional<torch::stable::Tensor> dense(const std::optional<torch::stable::Tensor>& tensor) {
  return tensor.has_value() ? std::optional<torch::stable::Tensor>(dense(*tensor)) : std::nullopt;
}

// The same in another dtype.
inline torch::stable::Tensor dense(const torch::stable::Tensor& tensor, torch::headeronly::ScalarType type) {
  return dense(torch::stable::to(tensor, type));
}

}  // namespace condinst
