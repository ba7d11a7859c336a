#include "../common/cuda_reduce.h"
#include "../common/dice.h"
#include "../mask_network/mask_forward_cuda.h"
#include "dynamic_mask_loss_cuda.h"
#include "mask_targets_cuda.h"

namespace condinst::dynamic_mask_loss::cuda {
namespace {

using namespace mask_network::cuda;

// Sums overlap and squares of a tile's masks, which are in registers only.
struct DiceSink {
  Targets targets;
  double* partial;  // [num_instances, tiles, 2]: overlap and squares

  size_t shared_bytes(const ForwardTiling& tiling) const {
    return sizeof(double) * 2 * static_cast<size_t>(tiling.instances) * static_cast<size_t>(tiling.threads / 32);
  }

  __device__ bool is_valid(int64_t instance) const { return target_is_valid(targets, instance); }

  // of_warps [instances, warps, 2]: the share of each warp.
  template <class Acc>
  __device__ __forceinline__ void take(const Inputs& inputs, const Tile& tile, const LogitTile<Acc>& of_tile,
                                       int64_t instance, bool valid, int slot, Acc* of_warps) const {
    Acc sums[2] = {};
    with_factor(inputs.factor, [&](auto factor) {
      add<factor>(inputs, tile, of_tile, valid ? targets.indices[instance] : -1, sums[0], sums[1]);
    });
    const int warps = static_cast<int>(blockDim.x) / 32;
    const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const Acc sum = warp_sum(sums[i]);
      if (threadIdx.x % 32 == 0) {
        of_warps[(slot * warps + warp) * 2 + i] = sum;
      }
    }
  }

  template <class Acc>
  __device__ __forceinline__ void finish(const ForwardTiling& tiling, int tile_index, int64_t first, int count,
                                         const Acc* of_warps) const {
    __syncthreads();
    const int warps = static_cast<int>(blockDim.x) / 32;
    for (int index = static_cast<int>(threadIdx.x); index < 2 * count; index += static_cast<int>(blockDim.x)) {
      double sum = 0;
      for (int warp = 0; warp < warps; ++warp) {
        sum += of_warps[(index / 2 * warps + warp) * 2 + index % 2];
      }
      partial[((first + index / 2) * tiling.tiles() + tile_index) * 2 + index % 2] = sum;
    }
  }

 private:
  // overlap += sum(p * t), squares += sum(p^2) + sum(t^2); a negative target stands for a missing pixel.
  template <int factor, class Acc>
  __device__ __forceinline__ void add(const Inputs& inputs, const Tile& tile, const LogitTile<Acc>& of_tile,
                                      int64_t target, Acc& overlap, Acc& squares) const {
    constexpr int count = factor > 1 ? 8 : 4;
    constexpr int cells = count / factor;
    const int width = inputs.width * factor;
    const int64_t size = static_cast<int64_t>(inputs.height) * factor * width;
    const uint8_t* mask = targets.masks + target * size;
    const bool aligned = width % count == 0 && reinterpret_cast<uintptr_t>(targets.masks) % 16 == 0;
    for_each_run<factor, cells>(tile, inputs.width, [&](int i, int column) {
      const int available = width - column * factor;
      Acc logits[count];
      upsample<factor, cells, 0>(of_tile, i, column, logits);
      Acc t[count];
      read_targets(mask + static_cast<int64_t>(i) * width + column * factor, target < 0 ? 0 : available, aligned, t);
#pragma unroll
      for (int j = 0; j < count; ++j) {
        if (j < available) {
          const Acc p = sigmoid(logits[j]);
          overlap += p * t[j];
          squares += p * p;
          squares += t[j] * t[j];
        }
      }
    });
  }
};

constexpr int kThreads = 128;

// One block per instance: adds up the tiles.
template <class Acc>
__global__ void __launch_bounds__(kThreads) finish(Inputs inputs, Targets targets, int tiles, double eps,
                                                   const double* partial, Acc* losses, Acc* sums_of_instances) {
  const int64_t instance = blockIdx.x;
  double sums[2] = {};
  for (int tile = static_cast<int>(threadIdx.x); tile < tiles; tile += kThreads) {
    sums[0] += partial[(instance * tiles + tile) * 2];
    sums[1] += partial[(instance * tiles + tile) * 2 + 1];
  }
  block_sum<kThreads>(sums);
  if (threadIdx.x == 0) {
    const bool valid =
        image_is_valid(inputs, instance) && target_is_valid(targets, instance);
    const double overlap = valid ? sums[0] : static_cast<double>(NAN);  // an instance may have no tile that reports this
    const double total = sums[1] + eps;
    losses[instance] = static_cast<Acc>(dice::loss(overlap, total));
    sums_of_instances[2 * instance] = static_cast<Acc>(overlap);
    sums_of_instances[2 * instance + 1] = static_cast<Acc>(total);
  }
}

}  // namespace

int64_t forward_scratch_bytes(const Inputs& inputs) {
  if (is_empty(inputs)) {
    return 0;
  }
  const int64_t tiles = forward_tiling(inputs, 1).tiles();
  return inputs.num_instances * tiles * 2 * static_cast<int64_t>(sizeof(double));
}

void forward(const Inputs& inputs, const Targets& targets, double eps, void* losses, void* sums, void* scratch,
             void* stream) {
  if (inputs.num_instances == 0) {
    return;
  }
  const auto partial = static_cast<double*>(scratch);
  int tiles = 0;
  launch_forward("dynamic_mask_loss", inputs, stream, [&](auto, const ForwardTiling& tiling) {
    tiles = tiling.tiles();
    return DiceSink{targets, partial};
  });
  with_accumulator(inputs, [&](auto acc) {
    using Acc = decltype(acc);
    launch("dynamic_mask_loss finish", finish<Acc>, grid_size(inputs.num_instances), kThreads, 0, stream, inputs,
           targets, tiles, eps, partial, static_cast<Acc*>(losses), static_cast<Acc*>(sums));
  });
}

}  // namespace condinst::dynamic_mask_loss::cuda
