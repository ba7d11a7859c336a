#include <cuda_runtime_api.h>

#include "cuda_info.h"

namespace condinst {

static std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

std::string cuda_info() {
  std::string architectures;
  for (const int architecture : {__CUDA_ARCH_LIST__}) {
    architectures += (architectures.empty() ? "sm_" : ", sm_") + std::to_string(architecture / 10);
  }
  int driver = 0;
  const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
  return "compiled with CUDA " + version(CUDART_VERSION) + " for " + architectures + "; " +
         (has_driver ? "driver supports CUDA " + version(driver) : "no CUDA driver on this machine");
}

}  // namespace condinst
