// The backward kernels of dynamic_mask_head and dynamic_mask_loss. They differ only in the Source of the gradients of the
// upsampled logits.
//
// The gradient of the features is a sum over the instances of an image, and the gradient of an instance's parameters is a
// sum over cells. A block of mask_backward processes a part of the tiles of the map and a part of the instances, sorted by
// image, one after the other. It has the activations in registers, and keeps two kinds of sums: the gradients of the
// features summed over its instances, in shared memory, and the gradients of the parameters summed over its cells. Both are
// written to scratch memory, whose size is bounded for any size of the map, and two small kernels add them in order. So
// there are no atomics, and the bits are the same in every run.
#pragma once

#include <algorithm>

#include "../common/cuda_launch.h"
#include "layers_cuda.h"
#include "map_cells_cuda.h"
#include "upsampling_cuda.h"

namespace condinst::mask_network::cuda {

constexpr int kBackwardThreads = 128;
constexpr int kBackwardWarps = kBackwardThreads / 32;

// Cells of a thread: as many as registers allow, which hold all hidden layers.
template <int width, int depth>
constexpr int kBackwardCells = (depth - 1) * width <= 24 ? 4 : 2;

// The division of the work. It depends only on sizes, not on the device.
struct BackwardTiling {
  int rows, columns;    // of a tile, in cells; columns a multiple of kCells; at most one group of cells per thread
  int down, across;     // tiles
  int chunks;           // chunks of tiles, each with a block per group
  int groups;           // of instances
  int64_t group_size;   // instances of a group

  __host__ __device__ int tiles() const { return down * across; }
};

// The cost model of a tiling: the work of the threads of a tile, and the rim of cells that dynamic_mask_loss also computes.
static inline BackwardTiling backward_tiling(const Inputs& inputs, int cells) {
  constexpr int64_t wanted_blocks = 396;  // three on each multiprocessor of an H100 at once
  constexpr int64_t most_groups = 64;     // each takes scratch memory for the gradient of a map
  constexpr int64_t most_partials = 16384;  // each takes scratch memory for the parameters of an instance
  BackwardTiling tiling{};
  const int width_groups = ceil_div(std::max(inputs.width, 1), kCells);
  const int units = kBackwardThreads * cells / kCells;  // of kCells cells, in a tile
  int64_t least_cost = INT64_MAX;
  for (int across = ceil_div(width_groups, units); across <= width_groups; ++across) {
    const int columns = ceil_div(width_groups, across);
    const int down = ceil_div(std::max(inputs.height, 1), units / columns);
    const int rows = ceil_div(std::max(inputs.height, 1), down);
    const int rim = 2 * (columns * kCells + rows);
    const int64_t cost = static_cast<int64_t>(ceil_div(width_groups, columns)) * down * (4 * units * kCells + 2 * rim);
    if (cost < least_cost) {
      least_cost = cost;
      tiling.rows = rows;
      tiling.columns = columns * kCells;
      tiling.down = down;
      tiling.across = ceil_div(width_groups, columns);
    }
    if (columns == 1) {
      break;
    }
  }
  const int64_t instances = std::max<int64_t>(inputs.num_instances, 1);
  tiling.chunks = static_cast<int>(
      std::min<int64_t>(tiling.tiles(), std::clamp<int64_t>(most_partials / instances, 4, wanted_blocks)));
  const int64_t groups = std::min(std::clamp<int64_t>(wanted_blocks / tiling.chunks, 1, most_groups), instances);
  tiling.group_size = (instances + groups - 1) / groups;
  tiling.groups = static_cast<int>((instances + tiling.group_size - 1) / tiling.group_size);
  return tiling;
}

// Scratch memory of backward.
template <class Acc>
struct Scratch {
  Acc* of_params;    // [num_instances, chunks, Layout::size()]
  Acc* of_features;  // [groups + num_images, map_channels, height, width]: group g's sum for image b is at g + b
  int* order;        // [num_instances]: the valid instances, sorted by image
  int* first;        // [num_images + 1]: the first instance of each image in `order`
};

template <class Acc>
static inline __host__ __device__ int64_t map_size(const Inputs& inputs) {
  return static_cast<int64_t>(inputs.map_channels) * inputs.height * inputs.width;
}

// A source of gradients has
//   rim                                       whether it needs the logits of the tile and of the cells around it
//   is_valid(instance)                        in addition to the check of its image index
//   prepare(instance)                         the values that it needs in registers
//   read<factor, count>(prepared, inputs, tile_logits, i, column, values)
//                                             the gradients of outputs factor * column + factor / 2 - kReach .. of row i,
//                                             0 where the map has none
//
// Fills order and first. One block per image, which counts the instances of the previous images.
template <class Source>
static __global__ void __launch_bounds__(256) sort_by_image(Inputs inputs, Source source, int* order, int* first) {
  constexpr int threads = 256;
  constexpr int warps = threads / 32;
  __shared__ int of_warps[2][warps];  // two buffers, so that one barrier per step is enough
  const int64_t image = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  int step = 0;
  // The number of instances of [begin, begin + threads) that pass `test`. `before` is the number in lower threads.
  const auto count = [&](int64_t begin, const auto& test, int& before, bool& taken) {
    const int64_t instance = begin + threadIdx.x;
    taken = instance < inputs.num_instances && image_is_valid(inputs, instance) && source.is_valid(instance) &&
            test(inputs.image_indices[instance]);
    const unsigned lanes = __ballot_sync(kAllLanes, taken);
    int* counts = of_warps[step++ % 2];
    if (lane == 0) {
      counts[warp] = __popc(lanes);
    }
    __syncthreads();
    before = __popc(lanes & ((1u << lane) - 1));
    int all = 0;
    for (int i = 0; i < warps; ++i) {
      before += i < warp ? counts[i] : 0;
      all += counts[i];
    }
    return all;
  };

  int before;
  bool taken;
  int start = 0;
  for (int64_t begin = 0; begin < inputs.num_instances; begin += threads) {
    start += count(begin, [&](int64_t other) { return other < image; }, before, taken);
  }
  int end = start;
  for (int64_t begin = 0; begin < inputs.num_instances; begin += threads) {
    const int all = count(begin, [&](int64_t other) { return other == image; }, before, taken);
    if (taken) {
      order[end + before] = static_cast<int>(begin) + static_cast<int>(threadIdx.x);
    }
    end += all;
  }
  if (threadIdx.x == 0) {
    first[image] = start;
    if (image + 1 == inputs.num_images) {
      first[image + 1] = end;
    }
  }
}

// The cells of a thread, which also add up the gradients of their features.
template <class Acc, int cells>
struct OwnedCells : MapCells<Acc, 1, cells> {
  Acc* gradients;  // [map_channels, kBackwardThreads, cells]; a separate part for each thread

  __device__ __forceinline__ Acc* of_thread(int channel) const {
    return gradients + (channel * kBackwardThreads + static_cast<int>(threadIdx.x)) * cells;
  }

  __device__ __forceinline__ void add_gradient(int channel, const Acc (&gradient)[cells]) const {
    Acc sums[cells];
    load_all<cells>(of_thread(channel), sums);
#pragma unroll
    for (int i = 0; i < cells; ++i) {
      sums[i] += gradient[i];
    }
    store_all<cells>(of_thread(channel), sums);
  }
};

// One block per chunk of tiles and group of instances.
template <class Acc, int width, int depth, class Source>
static __global__ void __launch_bounds__(kBackwardThreads, width < 16 ? 3 : 1)
    mask_backward(Inputs inputs, BackwardTiling tiling, Source source, Scratch<Acc> scratch) {
  constexpr int cells = kBackwardCells<width, depth>;
  const Layout<width, depth> layout{inputs.network.in_channels(0)};
  const int thread = static_cast<int>(threadIdx.x);
  const int chunk = static_cast<int>(blockIdx.x) % tiling.chunks;
  const int group = static_cast<int>(blockIdx.x) / tiling.chunks;
  const int begin = static_cast<int>(group * tiling.group_size);
  const int end = static_cast<int>(min(begin + tiling.group_size, static_cast<int64_t>(scratch.first[inputs.num_images])));

  // Shared memory. Multiples of kCells, for access to several values at once.
  const int pitch = tiling.columns + 2 * kCells;  // of the tile's logits, with cells to the left and to the right
  const int reduced_rows = inputs.factor * tiling.rows + inputs.factor - 1;
  const int weights_size = ceil_div(layout.size(), kCells) * kCells;
  Acc* feature_gradients = dynamic_shared<Acc>();
  Acc* reduced = feature_gradients + inputs.network.feature_channels * kBackwardThreads * cells;
  Acc* logits = reduced + reduced_rows * tiling.columns;
  Acc* weights = logits + (Source::rim ? (tiling.rows + 2) * pitch : 0);
  Acc* of_warps = weights + 2 * weights_size;

  const int first_tile = static_cast<int>(static_cast<int64_t>(chunk) * tiling.tiles() / tiling.chunks);
  const int end_tile = static_cast<int>(static_cast<int64_t>(chunk + 1) * tiling.tiles() / tiling.chunks);
  for (int tile = first_tile; tile < end_tile; ++tile) {
    const int tile_row = tile / tiling.across * tiling.rows;
    const int tile_column = tile % tiling.across * tiling.columns;
    const int rows = min(tiling.rows, inputs.height - tile_row);
    const int row_groups = ceil_div(min(tiling.columns, inputs.width - tile_column), cells);
    // Threads without cells also compute the last cells, with gradient 0, so that warps are complete.
    const bool owns = thread < rows * row_groups;
    const int own = owns ? thread : rows * row_groups - 1;
    const int row = tile_row + own / row_groups;
    const int column = tile_column + own % row_groups * cells;

    int64_t image = -1;
    const auto flush = [&] {
      for (int channel = 0; channel < inputs.network.feature_channels; ++channel) {
        Acc* sums = feature_gradients + (channel * kBackwardThreads + thread) * cells;
        if (owns && image >= 0) {
          Acc* to = scratch.of_features + (group + image) * map_size<Acc>(inputs) +
                    (static_cast<int64_t>(channel) * inputs.height + row) * inputs.width + column;
#pragma unroll
          for (int i = 0; i < cells; ++i) {
            if (column + i < inputs.width) {
              to[i] = sums[i];
            }
          }
        }
#pragma unroll
        for (int i = 0; i < cells; ++i) {
          sums[i] = 0;
        }
      }
    };
    flush();

    const auto stage_instance = [&](int position) {
      stage(inputs.network, layout,
            static_cast<const Acc*>(inputs.params) + static_cast<int64_t>(scratch.order[position]) * inputs.network.num_params(),
            weights + position % 2 * weights_size);
    };
    if (begin < end) {
      stage_instance(begin);
    }
    __syncthreads();
    for (int position = begin; position < end; ++position) {
      const int64_t instance = scratch.order[position];
      if (image != inputs.image_indices[instance]) {
        if (image >= 0) {
          flush();
        }
        image = inputs.image_indices[instance];
      }
      const Acc* of_instance = weights + position % 2 * weights_size;
      const Axes<Acc> axes(inputs, instance);
      const Features<Acc> features(inputs, image);

      // 1. The cells of the thread, whose activations stay in registers.
      OwnedCells<Acc, cells> owned{{inputs, axes, features, {row}, {column}}, feature_gradients};
      Activations<width, depth, cells, Acc> activations;
      Acc own_logits[cells];
      logits_of<width, depth>(of_instance, inputs.network, owned, activations, own_logits);
      const LogitTile<Acc> of_tile{logits, pitch, tile_row - 1, tile_column - kCells, inputs.height, inputs.width};
      if constexpr (Source::rim) {
        if (owns) {
          store_all<cells>(logits + (of_tile.at(row, column) - logits), own_logits);
        }
        // 2. The cells around the tile, one by one: a row above, a row below, a column on the left, a column on the right.
        const int end_column = min(tile_column + tiling.columns, inputs.width);
        const int across = end_column - tile_column + 2;
        const int rim = inputs.factor > 1 ? 2 * (across + rows) : 0;
        for (int index = thread; index < rim; index += kBackwardThreads) {
          const bool in_row = index < 2 * across;
          const int side = in_row ? index / across : (index - 2 * across) / rows;
          const int rim_row = in_row ? tile_row - 1 + side * (rows + 1) : tile_row + (index - 2 * across) % rows;
          const int rim_column = in_row ? tile_column - 1 + index % across : tile_column - 1 + side * (across - 1);
          if (rim_row >= 0 && rim_row < inputs.height && rim_column >= 0 && rim_column < inputs.width) {
            const MapCells<Acc, 1, 1> cell{inputs, axes, features, {rim_row}, {rim_column}};
            Activations<width, depth, 1, Acc> unused;
            Acc logit[1];
            logits_of<width, depth>(of_instance, inputs.network, cell, unused, logit);
            logits[of_tile.at(rim_row, rim_column) - logits] = logit[0];
          }
        }
        __syncthreads();
      }

      // 3. The gradients of the upsampled logits, transposed along rows.
      const auto prepared = source.template prepare<Acc>(inputs, instance);
      with_factor(inputs.factor, [&](auto of_upsampling) {
        constexpr int factor = decltype(of_upsampling)::value;
        const int reduced_count = (factor * rows + factor - 1) * row_groups;
        const int first_i = factor * tile_row + factor / 2 - kReach<factor>;
        for (int index = thread; index < reduced_count; index += kBackwardThreads) {
          const int in_tile = index / row_groups;
          const int from = tile_column + index % row_groups * cells;
          Acc grads[factor * cells + kReach<factor>];
          source.template read<factor, cells>(prepared, inputs, of_tile, first_i + in_tile, from, grads);
          Acc sums[cells];
          upsample_transposed<factor, cells>(grads, from, inputs.width, sums);
          store_all<cells>(reduced + in_tile * tiling.columns + from - tile_column, sums);
        }
      });
      __syncthreads();

      // 4. Along columns: the gradients of the thread's logits.
      Acc grad_logits[1][cells] = {};
      if (owns) {
        with_factor(inputs.factor, [&](auto of_upsampling) {
          constexpr int factor = decltype(of_upsampling)::value;
          constexpr int reach = kReach<factor>;
#pragma unroll
          for (int distance = -reach; distance <= reach; ++distance) {
            const Acc weight =
                distance == 0 ? Acc(1) : share<factor, Acc>(distance, row == 0, row == inputs.height - 1);
            Acc grads[cells];
            load_all<cells>(
                reduced + (factor * (row - tile_row) + distance + reach) * tiling.columns + column - tile_column, grads);
#pragma unroll
            for (int i = 0; i < cells; ++i) {
              grad_logits[0][i] += weight * grads[i];
            }
          }
        });
      }

      // 5. The network backward.
      network_backward<width, depth>(of_instance, inputs.network, owned, activations, grad_logits,
                                     of_warps + thread / 32 * weights_size);
      if (position + 1 < end) {
        stage_instance(position + 1);
      }
      __syncthreads();

      // 6. The sums over the warps.
      Acc* to = scratch.of_params + (instance * tiling.chunks + chunk) * layout.size();
      for (int index = thread; index < layout.size(); index += kBackwardThreads) {
        Acc sum = of_warps[index];
#pragma unroll
        for (int warp = 1; warp < kBackwardWarps; ++warp) {
          sum += of_warps[warp * weights_size + index];
        }
        to[index] = tile == first_tile ? sum : to[index] + sum;
      }
    }
    flush();
  }
}

// Adds up of_params, with one thread per parameter. Invalid instances get NaN.
template <class Acc, int width, int depth, class Source>
static __global__ void __launch_bounds__(256) sum_params(Inputs inputs, int chunks, Source source,
                                                         const Acc* of_params, Acc* grad_params) {
  const Layout<width, depth> layout{inputs.network.in_channels(0)};
  const int num_params = inputs.network.num_params();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t instance = index / num_params;
  if (instance >= inputs.num_instances) {
    return;
  }
  double sum = NAN;
  if (image_is_valid(inputs, instance) && source.is_valid(instance)) {
    sum = 0;
    const int place = layout.place(inputs.network, static_cast<int>(index % num_params));
    for (int chunk = 0; chunk < chunks; ++chunk) {
      sum += of_params[(instance * chunks + chunk) * layout.size() + place];
    }
  }
  grad_params[index] = static_cast<Acc>(sum);
}

// Adds up of_features, with one thread per feature.
template <class Acc>
static __global__ void __launch_bounds__(256) sum_features(Inputs inputs, int64_t group_size, Scratch<Acc> scratch,
                                                           Acc* grad_features) {
  const int64_t size = map_size<Acc>(inputs);
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t image = index / size;
  if (image >= inputs.num_images) {
    return;
  }
  Acc sum = 0;
  const int begin = scratch.first[image];
  const int end = scratch.first[image + 1];
  if (begin < end && inputs.network.feature_channels > 0) {
    for (int64_t group = begin / group_size; group <= (end - 1) / group_size; ++group) {
      sum += scratch.of_features[(group + image) * size + index % size];
    }
  }
  grad_features[index] = sum;
}

// Calls f with the tiling and the Layout of the kernels for these inputs.
template <class F>
static inline void with_backward_tiling(const Inputs& inputs, const F& f) {
  with_network(inputs.network, [&](auto width, auto depth) {
    f(width, depth, backward_tiling(inputs, kBackwardCells<width, depth>),
      Layout<width, depth>{inputs.network.in_channels(0)});
  });
}

static inline int64_t aligned_bytes(int64_t bytes) { return (bytes + 15) / 16 * 16; }

// The parts of the scratch memory at `memory`, and its total number of bytes.
template <class Acc>
static inline int64_t divide_scratch(const Inputs& inputs, const BackwardTiling& tiling, int layout_size, void* memory,
                                     Scratch<Acc>& scratch) {
  int64_t bytes = 0;
  const auto take = [&](int64_t count, int64_t size) {
    void* part = static_cast<char*>(memory) + bytes;
    bytes += aligned_bytes(count * size);
    return part;
  };
  const int64_t maps = inputs.network.feature_channels == 0 ? 0 : tiling.groups + inputs.num_images;
  scratch.of_params = static_cast<Acc*>(take(inputs.num_instances * tiling.chunks * layout_size, sizeof(Acc)));
  scratch.of_features = static_cast<Acc*>(take(maps * map_size<Acc>(inputs), sizeof(Acc)));
  scratch.order = static_cast<int*>(take(inputs.num_instances, sizeof(int)));
  scratch.first = static_cast<int*>(take(inputs.num_images + 1, sizeof(int)));
  return bytes;
}

// Launches the kernels of backward. `name` is the name of the operator, for messages.
template <class Source>
static inline void launch_backward(const char* name, const Inputs& inputs, const Source& source, void* grad_features,
                                   void* grad_params, void* memory, void* stream) {
  with_accumulator(inputs, [&](auto acc) {
    with_backward_tiling(inputs, [&](auto width, auto depth, BackwardTiling tiling, auto layout) {
      using Acc = decltype(acc);
      constexpr int cells = kBackwardCells<width, depth>;
      Scratch<Acc> scratch;
      divide_scratch(inputs, tiling, layout.size(), memory, scratch);
      if (inputs.num_images > 0) {
        launch(name, sort_by_image<Source>, grid_size(inputs.num_images), 256, 0, stream, inputs, source, scratch.order,
               scratch.first);
      }
      if (!is_empty(inputs) && inputs.num_images > 0) {
        const int weights_size = ceil_div(layout.size(), kCells) * kCells;
        const int shared = inputs.network.feature_channels * kBackwardThreads * cells +
                           (inputs.factor * tiling.rows + inputs.factor - 1) * tiling.columns +
                           (Source::rim ? (tiling.rows + 2) * (tiling.columns + 2 * kCells) : 0) +
                           (2 + kBackwardWarps) * weights_size;
        launch(name, mask_backward<Acc, width, depth, Source>, grid_size(int64_t{tiling.chunks} * tiling.groups),
               kBackwardThreads, static_cast<size_t>(shared) * sizeof(Acc), stream, inputs, tiling, source, scratch);
      }
      const int64_t params = inputs.num_instances * inputs.network.num_params();
      if (params > 0) {
        launch(name, sum_params<Acc, width, depth, Source>, grid_size((params + 255) / 256), 256, 0, stream, inputs,
               inputs.height == 0 || inputs.width == 0 ? 0 : tiling.chunks, source, scratch.of_params,
               static_cast<Acc*>(grad_params));
      }
      const int64_t features = inputs.num_images * map_size<Acc>(inputs);
      if (features > 0) {
        launch(name, sum_features<Acc>, grid_size((features + 255) / 256), 256, 0, stream, inputs, tiling.group_size,
               scratch, static_cast<Acc*>(grad_features));
      }
    });
  });
}

}  // namespace condinst::mask_network::cuda
