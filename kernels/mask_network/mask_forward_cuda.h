// The forward kernel of dynamic_mask_head and dynamic_mask_loss. They differ only in the Sink, which uses a tile of
// upsampled logits.
//
// A block processes a tile of the map for a few instances, one after the other. Its threads compute the logits of the tile,
// and of the cells around it that the upsampling needs, into shared memory. After a barrier they upsample from there, while
// finished warps continue with the next instance, which uses the other of two buffers.
#pragma once

#include <algorithm>

#include "../common/cuda_launch.h"
#include "layers_cuda.h"
#include "map_cells_cuda.h"
#include "upsampling_cuda.h"

namespace condinst::mask_network::cuda {

constexpr int kMaxForwardThreads = 256;

// The division of the map. It depends only on sizes, not on the device.
struct ForwardTiling {
  int rows, columns;      // of a tile, in cells; columns a multiple of kCells
  int down, across;       // tiles
  int instances;          // per block
  int above, below;       // rows around a tile that the upsampling needs
  int left, right;        // columns around a tile
  int threads;

  __host__ __device__ int tiles() const { return down * across; }
  __host__ __device__ int pitch() const { return left + columns + right; }
  __host__ __device__ int tile_size() const { return (above + rows + below) * pitch(); }
};

// One tile: cells [row, end_row) x [column, end_column) of the map; columns may go beyond the map.
struct Tile {
  int row, end_row, column, end_column;

  __device__ __forceinline__ Tile(const ForwardTiling& tiling, const Inputs& inputs, int index) {
    row = index / tiling.across * tiling.rows;
    end_row = min(row + tiling.rows, inputs.height);
    column = index % tiling.across * tiling.columns;
    end_column = min(column + tiling.columns, ceil_div(inputs.width, kCells) * kCells);
  }
};

// Groups of kCells cells that a thread takes at a time, so that a weight from shared memory is used for several cells. Wide
// or deep networks have no registers for two groups.
template <int width, int depth>
constexpr int kForwardGroups = width <= 8 && depth <= 3 ? 2 : 1;

// Fills the part of `logits` (one tile, pitch tiling.pitch()) that is in the map. All threads of the block must call it;
// there is no barrier.
template <int width, int depth, class Acc>
static __device__ __forceinline__ LogitTile<Acc> tile_logits(const Inputs& inputs, const ForwardTiling& tiling,
                                                             const Tile& tile, int64_t instance, bool valid,
                                                             const Acc* weights, Acc* logits) {
  constexpr int groups = kForwardGroups<width, depth>;
  using Cells = MapCells<Acc, groups, kCells>;
  const int row = max(tile.row - tiling.above, 0);
  const int rows = min(tile.end_row + tiling.below, inputs.height) - row;
  const int column = max(tile.column - tiling.left, 0);
  const int row_groups = ceil_div(min(tile.end_column + tiling.right, inputs.width) - column, kCells);
  const int count = rows * row_groups;
  const int threads = static_cast<int>(blockDim.x);
  const Axes<Acc> axes(inputs, instance);
  const Features<Acc> features(inputs, valid ? inputs.image_indices[instance] : 0);

  for (int first = static_cast<int>(threadIdx.x); first < count; first += groups * threads) {
    Cells cells{inputs, axes, features, {}, {}};
    int to[groups];
#pragma unroll
    for (int group = 0; group < groups; ++group) {
      const int index = min(first + group * threads, count - 1);
      const int in_row = index % row_groups * kCells;
      cells.row[group] = row + index / row_groups;
      cells.column[group] = column + in_row;
      to[group] = index / row_groups * tiling.pitch() + in_row;
    }
    Acc values[Cells::kCount];
    if (valid) {
      Activations<width, depth, Cells::kCount, Acc> activations;
      logits_of<width, depth>(weights, inputs.network, cells, activations, values);
    } else {
#pragma unroll
      for (int i = 0; i < Cells::kCount; ++i) {
        values[i] = static_cast<Acc>(NAN);
      }
    }
#pragma unroll
    for (int group = 0; group < groups; ++group) {
      store_all<kCells>(logits + to[group], values + group * kCells);
    }
  }
  return {logits, tiling.pitch(), row, column, inputs.height, inputs.width};
}

// Calls visit(i, column) for runs of `cells` cells: each row `i` of the upsampled tile and each column of cells where a run
// begins. Adjacent threads have adjacent runs.
template <int factor, int cells, class Visit>
static __device__ __forceinline__ void for_each_run(const Tile& tile, int width, const Visit& visit) {
  const int runs = ceil_div(min(tile.end_column, width) - tile.column, cells);
  const int end = tile.end_row * factor;
  const int thread = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  const int down = threads / runs;  // one division per tile instead of one per run
  const int across = threads % runs;
  int i = tile.row * factor + thread / runs;
  int run = thread % runs;
  while (i < end) {
    visit(i, tile.column + run * cells);
    i += down;
    run += across;
    if (run >= runs) {
      run -= runs;
      ++i;
    }
  }
}

// A Sink has
//   shared_bytes(tiling)                                   bytes of dynamic shared memory
//   is_valid(instance)                                     in addition to the check of its image index
//   take(inputs, tile, logits, instance, slot, shared)     a tile of logits; all threads of the block
//   finish(tiling, tile_index, instance, count, shared)    after all `count` instances
template <class Acc, int width, int depth, class Sink>
static __global__ void __launch_bounds__(kMaxForwardThreads, width < 16 ? 2 : 1) mask_forward(Inputs inputs, ForwardTiling tiling,
                                                                          Sink sink) {
  const int tile_index = static_cast<int>(blockIdx.x % static_cast<unsigned>(tiling.tiles()));
  const int64_t first = static_cast<int64_t>(blockIdx.x / static_cast<unsigned>(tiling.tiles())) * tiling.instances;
  const int count = static_cast<int>(min(static_cast<int64_t>(tiling.instances), inputs.num_instances - first));
  const Tile tile(tiling, inputs, tile_index);
  const Layout<width, depth> layout{inputs.network.in_channels(0)};
  const int num_params = inputs.network.num_params();

  const int weights_size = ceil_div(layout.size(), kCells) * kCells;
  Acc* weights = dynamic_shared<Acc>();
  Acc* logits = weights + 2 * weights_size;
  Acc* shared_of_sink = logits + 2 * tiling.tile_size();
  const auto stage_instance = [&](int slot) {
    stage(inputs.network, layout, static_cast<const Acc*>(inputs.params) + (first + slot) * num_params,
          weights + slot % 2 * weights_size);
  };

  stage_instance(0);
  __syncthreads();
  for (int slot = 0; slot < count; ++slot) {
    const int64_t instance = first + slot;
    const bool valid = image_is_valid(inputs, instance) && sink.is_valid(instance);
    const auto of_tile =
        tile_logits<width, depth>(inputs, tiling, tile, instance, valid, weights + slot % 2 * weights_size,
                                  logits + slot % 2 * tiling.tile_size());
    if (slot + 1 < count) {
      stage_instance(slot + 1);  // all warps have finished slot - 1, which used these weights
    }
    __syncthreads();
    sink.take(inputs, tile, of_tile, instance, valid, slot, shared_of_sink);
  }
  sink.finish(tiling, tile_index, first, count, shared_of_sink);
}

// The least number of blocks of a launch, if the sizes allow it: four for each multiprocessor of an H100.
constexpr int64_t kForwardBlocks = 528;

// Cells of a tile with its border: 256 threads compute them at once, with features that stay in the L1 cache.
constexpr int kForwardTileCells = 2048;
constexpr int kMaxColumns = 256;

// The tiling of inputs that are not empty. `groups` is kForwardGroups; only the field `threads` depends on it.
static inline ForwardTiling forward_tiling(const Inputs& inputs, int groups) {
  ForwardTiling tiling{};
  tiling.above = inputs.factor > 1 ? 1 : 0;
  tiling.below = inputs.factor > 2 ? 1 : 0;
  const int width = ceil_div(inputs.width, kCells) * kCells;
  tiling.columns = ceil_div(ceil_div(width, ceil_div(width, kMaxColumns)), kCells) * kCells;
  tiling.across = ceil_div(width, tiling.columns);
  if (tiling.across > 1) {
    tiling.left = inputs.factor > 1 ? kCells : 0;
    tiling.right = inputs.factor > 2 ? kCells : 0;
  }
  const int most_rows = std::max(1, kForwardTileCells / tiling.pitch() - tiling.above - tiling.below);
  const int64_t wanted = kForwardBlocks / (inputs.num_instances * tiling.across) + 1;
  const int down = static_cast<int>(
      std::max<int64_t>(ceil_div(inputs.height, most_rows), std::min<int64_t>(wanted, inputs.height)));
  tiling.rows = ceil_div(inputs.height, down);
  tiling.down = ceil_div(inputs.height, tiling.rows);
  constexpr int64_t most_instances = 8;
  tiling.instances = static_cast<int>(
      std::clamp<int64_t>(inputs.num_instances * tiling.tiles() / kForwardBlocks, 1, most_instances));

  const int warps = ceil_div(tiling.tile_size(), kCells * groups * 32);
  const int rounds = ceil_div(warps, kMaxForwardThreads / 32);
  tiling.threads = 32 * ceil_div(warps, rounds);
  return tiling;
}

// Launches mask_forward, unless there are no instances or the map is empty.
template <class MakeSink>
static inline void launch_forward(const char* name, const Inputs& inputs, void* stream, const MakeSink& make_sink) {
  if (is_empty(inputs)) {
    return;
  }
  with_accumulator(inputs, [&](auto acc) {
    with_network(inputs.network, [&](auto width, auto depth) {
      using Acc = decltype(acc);
      const ForwardTiling tiling = forward_tiling(inputs, kForwardGroups<width, depth>);
      const auto sink = make_sink(acc, tiling);
      const Layout<width, depth> layout{inputs.network.in_channels(0)};
      const int shared = 2 * (ceil_div(layout.size(), kCells) * kCells + tiling.tile_size());
      const int64_t blocks = (inputs.num_instances + tiling.instances - 1) / tiling.instances * tiling.tiles();
      launch(name, mask_forward<Acc, width, depth, std::decay_t<decltype(sink)>>, grid_size(blocks), tiling.threads,
             static_cast<size_t>(shared) * sizeof(Acc) + sink.shared_bytes(tiling), stream, inputs, tiling, sink);
    });
  });
}

}  // namespace condinst::mask_network::cuda
