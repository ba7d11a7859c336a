// condinst._host: what the build was and what this CPU can do. Never sees a tensor.
#include <pybind11/pybind11.h>

#include "../kernels/common/cpu_isa.h"

namespace py = pybind11;

namespace {

py::dict build_info() {
  using namespace py::literals;
  return py::dict("version"_a = CONDINST_VERSION, "commit"_a = CONDINST_COMMIT, "compiler"_a = CONDINST_COMPILER,
                  "torch_headers"_a = CONDINST_TORCH_HEADERS, "torch_target"_a = CONDINST_TORCH_TARGET,
                  "cuda"_a = CONDINST_CUDA_VERSION, "cuda_architectures"_a = CONDINST_CUDA_ARCHITECTURES,
                  "pybind11"_a = PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_MINOR));
}

py::dict cpu_features() {
  using namespace py::literals;
  const condinst::CpuFeatures has = condinst::cpu_features();
  return py::dict("avx2"_a = has.avx2, "avx512f"_a = has.avx512f, "avx512bw"_a = has.avx512bw,
                  "avx512dq"_a = has.avx512dq, "avx512vl"_a = has.avx512vl, "f16c"_a = has.f16c, "fma"_a = has.fma,
                  "neon"_a = has.neon);
}

}  // namespace

PYBIND11_MODULE(_host, m) {
  m.doc() = "Build information and CPU features. Made by csrc/host.cpp.";
  m.def("build_info", &build_info, "What this build was made of, by name; an empty string where there is nothing.");
  m.def("cpu_features", &cpu_features, "Whether this CPU has each instruction set that the kernels can use.");
  m.def(
      "cpu_isa", [] { return condinst::name(condinst::cpu_isa()); },
      "The instruction set the CPU kernels use here: \"baseline\", \"avx2\" or \"avx512\".");
}
