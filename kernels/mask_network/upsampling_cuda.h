// Upsampling (aligned_bilinear) of a tile of logits in shared memory, and its transpose, a run of outputs at a time. The
// dependence of outputs on columns is known at compile time; see upsample_source for the definition.
#pragma once

#include "../common/cuda_numeric.h"

namespace condinst::mask_network::cuda {

// Calls f with the upsampling factor as an integral constant.
template <class F>
static __device__ __forceinline__ void with_factor(int factor, const F& f) {
  if (factor == 2) {
    f(std::integral_constant<int, 2>{});
  } else if (factor == 4) {
    f(std::integral_constant<int, 4>{});
  } else {
    f(std::integral_constant<int, 1>{});
  }
}

// A part of an instance's logits [height, width] in shared memory. Cells of a run beyond the last column are copies of it.
template <class Acc>
struct LogitTile {
  const Acc* logits;
  int pitch;
  int first_row, first_column;
  int height, width;  // of the whole map

  __device__ __forceinline__ const Acc* at(int row, int column) const {
    return logits + (row - first_row) * pitch + column - first_column;
  }
};

// Outputs factor * column + begin .. + count - 1 of row `i` of the upsampled map, where column is a multiple of cells, and
// the outputs need no more than columns column - 1 .. column + cells.
template <int factor, int cells, int begin, int count, class Acc>
static __device__ __forceinline__ void upsample(const LogitTile<Acc>& tile, int i, int column, Acc (&outputs)[count]) {
  constexpr int shift = begin - factor / 2;  // of the first output, from cell `column`, in outputs
  constexpr bool needs_left = shift < 0;
  constexpr bool needs_right = shift + count - 1 > factor * (cells - 1);

  const int shifted = max(i - factor / 2, 0);
  const int low = shifted / factor;
  const int part = shifted % factor;
  const int high = part == 0 ? low : min(low + 1, tile.height - 1);  // a row with a weight of 0 may be outside of the tile
  const Acc weight = static_cast<Acc>(part) / factor;
  const auto blend = [&](Acc at_low, Acc at_high) {
    return factor == 1 ? at_low : at_low + weight * (at_high - at_low);
  };

  Acc row[cells + 2];  // cells column - 1 .. column + cells
  Acc of_low[cells], of_high[cells];
  load_all<cells>(tile.at(low, column), of_low);
  load_all<cells>(tile.at(high, column), of_high);
#pragma unroll
  for (int cell = 0; cell < cells; ++cell) {
    row[1 + cell] = blend(of_low[cell], of_high[cell]);
  }
  if (needs_left) {
    const int left = max(column - 1, 0);
    row[0] = blend(*tile.at(low, left), *tile.at(high, left));
  }
  if (needs_right) {
    const int right = min(column + cells, tile.width - 1);
    row[cells + 1] = blend(*tile.at(low, right), *tile.at(high, right));
  }
#pragma unroll
  for (int output = 0; output < count; ++output) {
    const int from_left = shift + output + factor;  // from cell column - 1
    const int cell = from_left / factor;
    const int part = from_left % factor;
    outputs[output] = row[cell];
    if (part != 0) {
      outputs[output] += static_cast<Acc>(part) / factor * (row[cell + 1] - row[cell]);
    }
  }
}

// The largest distance, on both sides, between the output on a cell and an output that depends on the cell.
template <int factor>
constexpr int kReach = factor - 1;

// The weight of a cell in the output at `distance` from the output on the cell, along one axis. For outputs beyond the
// first or the last cell it is 1.
template <int factor, class Acc>
static __device__ __forceinline__ Acc share(int distance, bool is_first, bool is_last) {
  if (distance < 0 ? is_first : is_last) {
    return 1;
  }
  return static_cast<Acc>(factor - (distance < 0 ? -distance : distance)) / factor;
}

// The transpose along a row: the gradient of each cell from `column` on, from the gradients of outputs factor * column +
// factor / 2 - kReach .. . Columns outside of the map get 0.
template <int factor, int cells, class Acc>
static __device__ __forceinline__ void upsample_transposed(const Acc (&grads)[factor * cells + kReach<factor>],
                                                           int column, int width, Acc (&of_cells)[cells]) {
  constexpr int reach = kReach<factor>;
#pragma unroll
  for (int cell = 0; cell < cells; ++cell) {
    const bool is_first = column + cell == 0;
    const bool is_last = column + cell == width - 1;
    Acc sum = 0;
#pragma unroll
    for (int distance = -reach; distance <= reach; ++distance) {
      const Acc weight = distance == 0 ? Acc(1) : share<factor, Acc>(distance, is_first, is_last);
      sum += weight * grads[factor * cell + distance + reach];
    }
    of_cells[cell] = column + cell < width ? sum : Acc(0);
  }
}

}  // namespace condinst::mask_network::cuda
