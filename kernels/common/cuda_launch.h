// Every .cu file includes this file first: CUDA, or its stand-in on the host, and the function that launches a kernel.
#pragma once

#if defined(CONDINST_CUDA_ON_HOST)
#include <cuda_on_host.h>
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

#include <cstdint>
#include <stdexcept>
#include <string>

namespace condinst {

// Throws std::runtime_error unless the status is success.
static inline void check_cuda(const char* name, cudaError_t status) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string("CUDA kernel ") + name + ": " + cudaGetErrorString(status));
  }
}

// The number of blocks in x. Throws std::runtime_error for more than 2^31 - 1.
static inline unsigned grid_size(int64_t blocks) {
  if (blocks > 0x7fffffff) {
    throw std::runtime_error("a CUDA grid of " + std::to_string(blocks) + " blocks is too large");
  }
  return static_cast<unsigned>(blocks);
}

// Launches `kernel`. Throws std::runtime_error with the name if CUDA rejects the launch. Never waits.
//
//   name            for messages
//   shared_bytes    bytes of dynamic shared memory; this function requests more than 48 KB if needed
//   stream          a cudaStream_t of the current device
//   args            copied to every thread
template <class... Params, class... Args>
static inline void launch(const char* name, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                          void* stream, const Args&... args) {
#if defined(CONDINST_CUDA_ON_HOST)
  (void)stream;
  cuda_on_host::run(name, grid, block, shared_bytes, [&] { kernel(args...); });
#else
  constexpr size_t always_allowed = 48 * 1024;
  if (shared_bytes > always_allowed) {
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(shared_bytes));
    if (error != cudaSuccess) {
      (void)cudaGetLastError();  // clears the error, which the next launch of PyTorch would report
    }
    check_cuda(name, error);
  }
  kernel<<<grid, block, shared_bytes, static_cast<cudaStream_t>(stream)>>>(args...);
  check_cuda(name, cudaGetLastError());
#endif
}

// The dynamic shared memory of the block, at a multiple of 16 bytes.
template <class T>
static __device__ __forceinline__ T* dynamic_shared() {
#if defined(CONDINST_CUDA_ON_HOST)
  return static_cast<T*>(cuda_on_host::dynamic_shared());
#else
  extern __shared__ uint4 condinst_dynamic_shared[];
  return reinterpret_cast<T*>(condinst_dynamic_shared);
#endif
}

}  // namespace condinst
