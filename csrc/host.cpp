// condinst._host: properties of the build and of this CPU, and COCO's run lengths for the data. It does not use tensors.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../kernels/common/cpu_isa.h"
#include "../kernels/masks_to_rle/decoder.h"
#include "sizes.h"

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

// Run lengths

using Integers = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;

struct Rle {
  std::string_view counts;
  int64_t height, width;
};

// Masks as views into Python's objects, which the arguments keep alive. Needs the GIL.
std::vector<Rle> views(const Integers& sizes, const std::vector<py::bytes>& counts) {
  if (sizes.ndim() != 2 || sizes.shape(0) != static_cast<py::ssize_t>(counts.size()) || sizes.shape(1) != 2) {
    throw py::value_error("sizes: expected one pair (height, width) for each of the counts");
  }
  const auto size = sizes.unchecked<2>();
  std::vector<Rle> rles;
  rles.reserve(counts.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    const Rle one{std::string_view(counts[i]), size(i, 0), size(i, 1)};
    if (one.height < 1 || one.width < 1 || one.height > INT32_MAX / one.width) {
      throw py::value_error("rles[" + std::to_string(i) + "]: size: expected 1 to 2^31 - 1 pixels");
    }
    rles.push_back(one);
  }
  return rles;
}

// Calls visit(index, rle), which returns a description of the error in the mask or nullptr, for all masks, without the GIL.
template <class Visit>
void for_each(const std::vector<Rle>& rles, Visit&& visit) {
  const char* fault = nullptr;
  size_t i = 0;
  {
    py::gil_scoped_release released;
    for (; i < rles.size() && fault == nullptr; ++i) {
      fault = visit(i, rles[i]);
    }
  }
  if (fault != nullptr) {
    throw py::value_error("rles[" + std::to_string(i - 1) + "]: counts: " + fault);
  }
}

void check_positions(const char* name, const Integers& positions) {
  const int64_t* const data = positions.data();
  if (positions.ndim() != 1 || !std::is_sorted(data, data + positions.size()) ||
      (positions.size() > 0 && data[0] < 0)) {
    throw py::value_error(std::string(name) + ": expected ascending positions from 0 on");
  }
}

py::array_t<bool> rle_pixels(const Integers& sizes, const std::vector<py::bytes>& counts, const Integers& rows,
                             const Integers& columns) {
  using namespace condinst::masks_to_rle;
  const std::vector<Rle> rles = views(sizes, counts);
  check_positions("rows", rows);
  check_positions("columns", columns);
  const int64_t num_rows = rows.size();
  const int64_t num_columns = columns.size();
  const int64_t num_masks = static_cast<int64_t>(rles.size());
  int64_t num_pixels = 0;
  if (!condinst::multiply({num_masks, num_rows, num_columns}, &num_pixels)) {
    throw py::value_error("rows, columns: expected less than 2^63 pixels of all masks");
  }
  py::array_t<bool> pixels({num_masks, num_rows, num_columns});
  bool* const to = pixels.mutable_data();
  const int64_t* const column = columns.data();
  int64_t height = 0;
  for (const Rle& one : rles) {
    height = std::max(height, one.height);
  }
  std::vector<int64_t> table(height <= kMostInTable ? height + 1 : 0);
  fill_table(rows.data(), num_rows, table.data(), static_cast<int64_t>(table.size()));
  const RowTable row_table{rows.data(), num_rows, table.empty() ? nullptr : table.data()};
  for_each(rles, [&](size_t i, const Rle& one) {
    bool* const mask = to + static_cast<int64_t>(i) * num_rows * num_columns;
    std::fill_n(mask, num_rows * num_columns, false);
    const int64_t within = std::lower_bound(column, column + num_columns, one.width) - column;
    Sampler sampler(column, within, row_table, one.height, num_columns, mask);
    return decode(one.counts.data(), static_cast<int64_t>(one.counts.size()), one.height * one.width,
                  [&](int64_t begin, int64_t end) { sampler.add(begin, end); });
  });
  return pixels;
}

py::array_t<int64_t> rle_moments(const Integers& sizes, const std::vector<py::bytes>& counts) {
  using namespace condinst::masks_to_rle;
  const std::vector<Rle> rles = views(sizes, counts);
  py::array_t<int64_t> sums({static_cast<int64_t>(rles.size()), int64_t{3}});
  int64_t* const to = sums.mutable_data();
  for_each(rles, [&](size_t i, const Rle& one) {
    Moments moments;
    const char* const fault =
        decode(one.counts.data(), static_cast<int64_t>(one.counts.size()), one.height * one.width,
               [&](int64_t begin, int64_t end) { moments.add(begin, end, one.height); });
    const int64_t row[3] = {moments.area, moments.x, moments.y};
    std::copy(row, row + 3, to + 3 * i);
    return fault;
  });
  return sums;
}

}  // namespace

PYBIND11_MODULE(_host, m) {
  m.doc() = "Build information, CPU features, and the reading of run lengths. Made by csrc/host.cpp.";
  m.def("build_info", &build_info, "What this build was made of, by name; an empty string where there is nothing.");
  m.def("cpu_features", &cpu_features, "Whether this CPU has each instruction set that the kernels can use.");
  m.def(
      "cpu_isa", [] { return condinst::name(condinst::cpu_isa()); },
      "The instruction set the CPU kernels use here: \"baseline\", \"avx2\" or \"avx512\".");
  m.def("rle_pixels", &rle_pixels, py::arg("sizes"), py::arg("counts"), py::arg("rows"), py::arg("columns"),
        "Where rows and columns (ascending) of each mask cross, bool [G, rows, columns]; False outside the mask.");
  m.def("rle_moments", &rle_moments, py::arg("sizes"), py::arg("counts"),
        "Area and sums of x and of y over the pixels of each mask, int64 [G, 3].");
}
