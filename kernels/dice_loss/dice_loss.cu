#include "../common/cuda_launch.h"
#include "../common/cuda_numeric.h"
#include "../common/cuda_reduce.h"
#include "../common/dice.h"
#include "dice_loss_cuda.h"

namespace condinst::dice_loss::cuda {
namespace {

constexpr int kThreads = 256;

// How the threads of a block share a chunk: each takes `kPacks` packs of `kCount` neighbouring elements, kThreads packs
// apart. The assignment of elements to threads, and so the sum, does not depend on the alignment of the tensors.
template <class Mask, class Target>
struct Walk {
  static constexpr int kCount = kPackCount<Mask, Target>;
  static constexpr int kPacks = static_cast<int>(kChunk) / (kThreads * kCount);
  static_assert(kPacks * kThreads * kCount == kChunk, "whole packs");

  static __device__ __forceinline__ int64_t start(int pack) {
    return (static_cast<int64_t>(pack) * kThreads + threadIdx.x) * kCount;
  }
};

// overlap += sum(m * t), squares += sum(m^2) + sum(t^2)
template <class Acc, int count, class Mask, class Target>
__device__ __forceinline__ void add(const Pack<Mask, count>& masks, const Pack<Target, count>& targets, Acc& overlap,
                                    Acc& squares) {
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const Acc m = widen<Acc>(masks.values[i]);
    const Acc t = widen<Acc>(targets.values[i]);
    overlap += m * t;
    squares += m * m;
    squares += t * t;
  }
}

// grad = scale * (ratio * m - t)
template <class Acc, int count, class Mask, class Target>
__device__ __forceinline__ Pack<Mask, count> grads_of(const Pack<Mask, count>& masks,
                                                      const Pack<Target, count>& targets,
                                                      const dice::Gradient<Acc>& gradient) {
  Pack<Mask, count> grads;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const Acc m = widen<Acc>(masks.values[i]);
    const Acc t = widen<Acc>(targets.values[i]);
    grads.values[i] = narrow<Mask>(gradient.scale * (gradient.ratio * m - t));
  }
  return grads;
}

// One block per chunk: fills the two numbers of the chunk in partial.
template <class Mask, class Target>
__global__ void __launch_bounds__(kThreads) partial_sums(Args args) {
  using Acc = AccOf<Mask, Target>;
  using W = Walk<Mask, Target>;
  const Chunk chunk = chunk_of(args, blockIdx.x);
  const Mask* masks = static_cast<const Mask*>(args.masks) + chunk.offset;
  const Target* targets = static_cast<const Target*>(args.targets) + chunk.offset;

  Acc sums[2] = {};
  if (chunk.size == kChunk && is_aligned<W::kCount>(masks) && is_aligned<W::kCount>(targets)) {
    // All loads come first, so that their latencies overlap.
    Pack<Mask, W::kCount> m[W::kPacks];
    Pack<Target, W::kCount> t[W::kPacks];
#pragma unroll
    for (int pack = 0; pack < W::kPacks; ++pack) {
      m[pack] = load_pack<W::kCount>(masks + W::start(pack));
      t[pack] = load_pack<W::kCount>(targets + W::start(pack));
    }
#pragma unroll
    for (int pack = 0; pack < W::kPacks; ++pack) {
      add(m[pack], t[pack], sums[0], sums[1]);
    }
  } else {
#pragma unroll
    for (int pack = 0; pack < W::kPacks; ++pack) {
      const int64_t start = W::start(pack);
      add(load_some<W::kCount>(masks + start, chunk.size - start),
          load_some<W::kCount>(targets + start, chunk.size - start), sums[0], sums[1]);
    }
  }

  block_sum<kThreads>(sums);
  if (threadIdx.x == 0) {
    args.partial[2 * static_cast<int64_t>(blockIdx.x)] = sums[0];
    args.partial[2 * static_cast<int64_t>(blockIdx.x) + 1] = sums[1];
  }
}

// One block per mask: adds up the chunks.
template <class Acc>
__global__ void __launch_bounds__(kThreads) finish(Args args) {
  const int64_t mask = blockIdx.x;
  const double* partial = args.partial + 2 * mask * args.chunks;
  double sums[2] = {};
  for (int64_t chunk = threadIdx.x; chunk < args.chunks; chunk += kThreads) {
    sums[0] += partial[2 * chunk];
    sums[1] += partial[2 * chunk + 1];
  }
  block_sum<kThreads>(sums);
  if (threadIdx.x == 0) {
    const double total = sums[1] + args.eps;
    static_cast<Acc*>(args.losses)[mask] = static_cast<Acc>(dice::loss(sums[0], total));
    static_cast<Acc*>(args.sums)[2 * mask] = static_cast<Acc>(sums[0]);
    static_cast<Acc*>(args.sums)[2 * mask + 1] = static_cast<Acc>(total);
  }
}

// One block per chunk: fills its part of grad_masks.
template <class Mask, class Target>
__global__ void __launch_bounds__(kThreads) gradients(Args args) {
  using Acc = AccOf<Mask, Target>;
  using W = Walk<Mask, Target>;
  const Chunk chunk = chunk_of(args, blockIdx.x);
  const Mask* masks = static_cast<const Mask*>(args.masks) + chunk.offset;
  const Target* targets = static_cast<const Target*>(args.targets) + chunk.offset;
  Mask* grads = static_cast<Mask*>(args.grad_masks) + chunk.offset;
  const Acc* sums = static_cast<const Acc*>(args.sums) + 2 * chunk.mask;
  const auto factors = dice::gradient(static_cast<const Acc*>(args.grad_losses)[chunk.mask], sums[0], sums[1]);

  if (chunk.size == kChunk && is_aligned<W::kCount>(masks) && is_aligned<W::kCount>(targets) &&
      is_aligned<W::kCount>(grads)) {
    Pack<Mask, W::kCount> m[W::kPacks];
    Pack<Target, W::kCount> t[W::kPacks];
#pragma unroll
    for (int pack = 0; pack < W::kPacks; ++pack) {
      m[pack] = load_pack<W::kCount>(masks + W::start(pack));
      t[pack] = load_pack<W::kCount>(targets + W::start(pack));
    }
#pragma unroll
    for (int pack = 0; pack < W::kPacks; ++pack) {
      store_pack(grads + W::start(pack), grads_of(m[pack], t[pack], factors));
    }
  } else {
#pragma unroll
    for (int pack = 0; pack < W::kPacks; ++pack) {
      const int64_t start = W::start(pack);
      const int64_t rest = chunk.size - start;
      store_some(grads + start,
                 grads_of(load_some<W::kCount>(masks + start, rest), load_some<W::kCount>(targets + start, rest),
                          factors),
                 rest);
    }
  }
}

}  // namespace

void forward(const Args& args, void* stream) {
  if (args.count == 0) {
    return;
  }
  if (args.size > 0) {
    with_types(args, [&](auto mask, auto target) {
      launch("dice_loss partial_sums", partial_sums<decltype(mask), decltype(target)>, grid_size(task_count(args)),
             kThreads, 0, stream, args);
    });
  }
  launch("dice_loss finish", args.wide ? finish<double> : finish<float>, grid_size(args.count), kThreads, 0, stream,
         args);
}

void backward(const Args& args, void* stream) {
  if (task_count(args) == 0) {
    return;
  }
  with_types(args, [&](auto mask, auto target) {
    launch("dice_loss gradients", gradients<decltype(mask), decltype(target)>, grid_size(task_count(args)), kThreads, 0,
           stream, args);
  });
}

}  // namespace condinst::dice_loss::cuda
