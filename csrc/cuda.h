// Dispatch from CUDA tensors to CUDA kernels.
//
// CONDINST_WITH_CUDA: the library has CUDA kernels. CONDINST_CUDA_ON_HOST in addition: they are built for the host
// (tests/cuda_on_host) and replace the CPU kernels, for tests.
#pragma once

#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

namespace condinst {

#if defined(CONDINST_WITH_CUDA)
constexpr bool kWithCuda = true;
#else
constexpr bool kWithCuda = false;
#endif

#if defined(CONDINST_CUDA_ON_HOST)
constexpr bool kCudaOnHost = true;
#else
constexpr bool kCudaOnHost = false;
#endif

// Whether the CUDA kernels, and not the CPU kernels, compute on this tensor.
inline bool on_cuda(const torch::stable::Tensor& tensor) { return kCudaOnHost || tensor.is_cuda(); }

inline bool same_device(const torch::stable::Tensor& one, const torch::stable::Tensor& other) {
  return one.device() == other.device();
}

// PyTorch's current stream of a CUDA device, as a cudaStream_t.
//
// libtorch_cpu has an accessor only since torch 2.13. This older accessor is in libtorch_cuda, which does not exist in a
// torch without CUDA. So it is looked up at the first CUDA tensor, when libtorch_cuda is loaded in the process.
inline void* current_cuda_stream(int32_t device) {
  using Accessor = int32_t (*)(int32_t device, void** stream);
  static const Accessor accessor = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
    return library == nullptr ? nullptr
                              : reinterpret_cast<Accessor>(dlsym(library, "aoti_torch_get_current_cuda_stream"));
  }();
  STD_TORCH_CHECK(accessor != nullptr, "libtorch_cuda is not loaded, or has no aoti_torch_get_current_cuda_stream");
  void* stream = nullptr;
  STD_TORCH_CHECK(accessor(device, &stream) == 0, "no current stream of CUDA device ", device);
  return stream;
}

// Calls launch(stream) with the device of the tensor as the current device, and the current stream of that device.
template <class Launch>
void on_current_stream(const torch::stable::Tensor& tensor, const Launch& launch) {
  if constexpr (kCudaOnHost) {
    launch(nullptr);
  } else {
    const torch::stable::accelerator::DeviceGuard guard(tensor.get_device_index());
    launch(current_cuda_stream(tensor.get_device_index()));
  }
}

}  // namespace condinst
