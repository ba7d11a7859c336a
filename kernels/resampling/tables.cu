#include "../common/cuda_launch.h"
#include "tables_cuda.h"

namespace condinst::resampling::cuda {
namespace {

constexpr int kThreads = 128;

// A thread per pixel of an axis; the axis is blockIdx.y.
__global__ void __launch_bounds__(kThreads) fill_table(Scale rows, int32_t* of_rows, Scale columns,
                                                       int32_t* of_columns) {
  const Scale& scale = blockIdx.y == 0 ? rows : columns;
  const int64_t pixel = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (pixel < scale.pixels) {
    const int32_t before = pixel > 0 ? taps_of(scale, pixel - 1).first : -1;
    fill_in(scale, pixel, taps_of(scale, pixel), before, blockIdx.y == 0 ? of_rows : of_columns);
  }
}

}  // namespace

void fill_tables(const Scale& rows, int32_t* of_rows, const Scale& columns, int32_t* of_columns, void* stream) {
  const int64_t longest = rows.pixels > columns.pixels ? rows.pixels : columns.pixels;
  launch("resampling fill_table", fill_table, dim3(grid_size((longest + kThreads - 1) / kThreads), 2), kThreads, 0,
         stream, rows, of_rows, columns, of_columns);
}

}  // namespace condinst::resampling::cuda
