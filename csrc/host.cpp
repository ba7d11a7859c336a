// condinst._host: what the build was, what this CPU can do, and COCO's strings. Never sees a tensor.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../kernels/common/cpu_isa.h"
#include "rle.h"

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

template <class T>
using Array = py::array_t<T, py::array::c_style>;

py::tuple encode_runs(const Array<int32_t>& positions, const Array<int64_t>& offsets, int64_t height, int64_t width,
                      int64_t num_threads) {
  const int64_t num_masks = offsets.size() - 1;
  const int64_t* ends = offsets.data();
  if (positions.ndim() != 1 || offsets.ndim() != 1 || num_masks < 0 || ends[0] != 0 ||
      ends[num_masks] != positions.size() || !std::is_sorted(ends, ends + num_masks + 1)) {
    throw std::invalid_argument("offsets: expected ascending numbers from 0 to the number of positions");
  }
  const condinst::Changes changes{positions.data(), ends, height, width};
  std::vector<condinst::Encoded> encoded(num_masks);
  {
    const py::gil_scoped_release without_gil;
    constexpr int64_t kRuns = 1 << 16;  // fewer are not worth a thread
    num_threads = std::clamp<int64_t>(positions.size() / kRuns, 1, std::max<int64_t>(num_threads, 1));
    // Thread i takes the masks that end in part i of the runs.
    const auto encode_part = [&](int64_t part) {
      std::vector<char> scratch;
      const auto first_mask = [&](int64_t of) {
        return of == num_threads ? num_masks
                                 : std::lower_bound(ends, ends + num_masks, positions.size() * of / num_threads) - ends;
      };
      for (int64_t mask = first_mask(part); mask < first_mask(part + 1); ++mask) {
        encoded[mask] = condinst::encode(changes, mask, scratch);
      }
    };
    std::vector<std::thread> threads;
    for (int64_t part = 1; part < num_threads; ++part) {
      threads.emplace_back(encode_part, part);
    }
    encode_part(0);
    for (std::thread& thread : threads) {
      thread.join();
    }
  }
  py::list counts(num_masks);
  Array<int64_t> areas(num_masks);
  Array<float> boxes(std::vector<py::ssize_t>{num_masks, 4});
  for (int64_t mask = 0; mask < num_masks; ++mask) {
    counts[mask] = py::bytes(encoded[mask].counts);
    areas.mutable_data()[mask] = encoded[mask].area;
    std::copy(encoded[mask].box, encoded[mask].box + 4, boxes.mutable_data(mask));
  }
  return py::make_tuple(counts, areas, boxes);
}

}  // namespace

PYBIND11_MODULE(_host, m) {
  m.doc() = "Build information, CPU features and COCO's run lengths. Made by csrc/host.cpp.";
  m.def("build_info", &build_info, "What this build was made of, by name; an empty string where there is nothing.");
  m.def("cpu_features", &cpu_features, "Whether this CPU has each instruction set that the kernels can use.");
  m.def(
      "cpu_isa", [] { return condinst::name(condinst::cpu_isa()); },
      "The instruction set the CPU kernels use here: \"baseline\", \"avx2\" or \"avx512\".");
  m.def("encode_runs", &encode_runs, py::arg("positions"), py::arg("offsets"), py::arg("height"), py::arg("width"),
        py::arg("num_threads"),
        "From the positions [R] int32 where masks change, column-major, of mask i those from offsets[i] on ([K + 1] "
        "int64), to COCO's strings, areas [K] int64 and boxes [K, 4] float32 (x1, y1, x2, y2).");
}
