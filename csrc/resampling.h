// Code that masks_to_image and masks_to_rle share: checks, the tables of both axes, bands for threads. condinst/ops checks
// what users pass; the checks here are defensive checks for direct callers of torch.ops.condinst.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <atomic>

#include "../kernels/resampling/lines.h"
#include "../kernels/resampling/tables_cuda.h"
#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "sizes.h"

namespace condinst::resampling {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The options in the order of the schemas.
struct Options {
  int64_t mask_stride, network_height, network_width, output_height, output_width;
  double threshold;
};

// Fills the tables of both axes, on the device of the logits. Static, because sources differ in the operations that the
// compiler may fuse.
static inline void make_tables(const Tensor& mask_logits, const Scale& rows, int32_t* of_rows, const Scale& columns,
                               int32_t* of_columns) {
  if constexpr (kWithCuda) {
    if (on_cuda(mask_logits)) {
      return on_current_stream(
          mask_logits, [&](void* stream) { cuda::fill_tables(rows, of_rows, columns, of_columns, stream); });
    }
  }
  std::fill(of_rows, of_rows + table_size(rows), 0);
  std::fill(of_columns, of_columns + table_size(columns), 0);
  fill_table(rows, of_rows);
  fill_table(columns, of_columns);
}

// Logits in the form that the kernels read, and the tables. Owns the memory that `args` points to.
class Masks {
 public:
  Masks(const Tensor& mask_logits, const Options& options) {
    STD_TORCH_CHECK(mask_logits.dim() == 3 && is_side(mask_logits.size(1)) && is_side(mask_logits.size(2)),
                    "mask_logits: expected [K, h, w] with sides of at most ", kMostSide);
    STD_TORCH_CHECK(is_stride(options.mask_stride), "mask_stride: expected 1 .. ", kMostSide, ", got ",
                    options.mask_stride);
    const int64_t height = mask_logits.size(1);
    const int64_t width = mask_logits.size(2);
    STD_TORCH_CHECK(0 < options.network_height && options.network_height <= height * options.mask_stride &&
                        0 < options.network_width && options.network_width <= width * options.mask_stride,
                    "network_size: expected at least 1 x 1 and at most mask size times mask_stride");
    STD_TORCH_CHECK(is_image_size(options.output_height, options.output_width),
                    "output_size: expected sides of 1 .. ", kMostSide, " and less than 2^31 pixels");
    const bool narrow = mask_logits.scalar_type() == ScalarType::Half ||
                        mask_logits.scalar_type() == ScalarType::BFloat16;
    logits_ = narrow ? dense(mask_logits) : dense(mask_logits, ScalarType::Float);
    const Scale rows{height, options.mask_stride, options.network_height, options.output_height};
    const Scale columns{width, options.mask_stride, options.network_width, options.output_width};
    const int64_t of_rows = table_size(rows);
    tables_ = torch::stable::new_empty(mask_logits, {of_rows + table_size(columns)}, ScalarType::Int);
    int32_t* tables = static_cast<int32_t*>(tables_.mutable_data_ptr());
    make_tables(mask_logits, rows, tables, columns, tables + of_rows);
    args.logits = logits_.const_data_ptr();
    args.type = element_type(logits_);
    args.count = mask_logits.size(0);
    args.rows = axis_of(tables, rows);
    args.columns = axis_of(tables + of_rows, columns);
    args.threshold = static_cast<float>(options.threshold);
  }

  Args args{};

 private:
  Tensor logits_, tables_;
};

// Distributes tasks 0 .. count - 1 among the threads. Each thread takes a new task when it has finished one, because the
// work of masks differs. A thread calls run(next) once; next() is its next task, or at least count.
template <class Run>
void share_tasks(int64_t count, const Run& run) {
  std::atomic<int64_t> taken{0};
  const auto next = [&] { return taken.fetch_add(1, std::memory_order_relaxed); };
  const int64_t threads = std::min<int64_t>(count, torch::stable::get_num_threads());
  torch::stable::parallel_for(0, threads, 1, [&](int64_t, int64_t) { run(next); });
}

// Divides masks if there are few, so that all threads have work. The result does not depend on the division.
inline int64_t cpu_bands(const Args& args, const Axis& across) {
  constexpr int64_t kTasksPerThread = 4;
  constexpr int64_t kPixels = 64;  // the least lines of pixels of a band
  const int64_t threads = torch::stable::get_num_threads();
  if (threads == 1) {
    return 1;
  }
  return std::clamp<int64_t>(kTasksPerThread * threads / std::max<int64_t>(args.count, 1), 1,
                             std::max<int64_t>(across.pixels / kPixels, 1));
}

}  // namespace condinst::resampling
