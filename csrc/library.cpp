// Information about the operator library. The schema of each operator is in the file of the operator.
#include <torch/csrc/stable/library.h>

#include <string>

#if defined(CONDINST_WITH_CUDA)
#include "../kernels/common/cuda_info.h"
#endif

namespace {

std::string cuda_info() {
#if defined(CONDINST_CUDA_ON_HOST)
  return "compiled for the host; the CUDA kernels take the place of the CPU kernels";
#elif defined(CONDINST_WITH_CUDA)
  return condinst::cuda_info();
#else
  return "compiled without CUDA";
#endif
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def("cuda_info() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(condinst, CompositeExplicitAutograd, m) {
  m.impl("cuda_info", TORCH_BOX(&cuda_info));
}
