#include "../common/cuda_launch.h"
#include "../common/cuda_numeric.h"
#include "../common/loss_cuda.h"
#include "giou_loss_cuda.h"

namespace condinst::giou_loss::cuda {
namespace {

// The distances of a box: in one or two accesses if they are aligned, otherwise one by one.
template <class Acc, class T>
__device__ __forceinline__ void read_box(const T* from, Acc (&box)[4]) {
  constexpr int count = kPackCount<T> < 4 ? kPackCount<T> : 4;
  const bool aligned = is_aligned<count>(from);
#pragma unroll
  for (int first = 0; first < 4; first += count) {
    const auto pack = aligned ? load_pack<count>(from + first) : load_some<count>(from + first, count);
#pragma unroll
    for (int i = 0; i < count; ++i) {
      box[first + i] = widen<Acc>(pack.values[i]);
    }
  }
}

// One block per chunk; a thread takes a box.
template <class T, class Acc>
__global__ void __launch_bounds__(kLossThreads) chunk_losses(Args args) {
  const LossResults& results = args.results;
  const LossChunk chunk = chunk_of(results, blockIdx.x);
  Acc sum = 0;
  for (int64_t i = chunk.first + threadIdx.x; i < chunk.first + chunk.size; i += kLossThreads) {
    Acc predicted[4], targets[4], grad[4];
    read_box(static_cast<const T*>(args.predicted) + 4 * i, predicted);
    read_box(static_cast<const Acc*>(args.targets) + 4 * i, targets);
    const Acc weight = args.weights == nullptr ? Acc(1) : static_cast<const Acc*>(args.weights)[i];
    const Acc loss = weight * giou(predicted, targets, args.smooth, grad);
    sum += loss;
    if (results.losses != nullptr) {
      static_cast<Acc*>(results.losses)[i] = loss;
    }
    if (results.grad != nullptr) {
      const Acc factor = factor_of<Acc>(results, i);
      for (int side = 0; side < 4; ++side) {
        static_cast<T*>(results.grad)[4 * i + side] = narrow<T>(weight * grad[side] * factor);
      }
    }
  }
  write_sum(results, sum);
}

}  // namespace

void losses(const Args& args, void* stream) {
  with_types(args, [&](auto predicted, auto acc) {
    launch_loss<decltype(acc)>("giou_loss chunk_losses", chunk_losses<decltype(predicted), decltype(acc)>, args, stream);
  });
}

}  // namespace condinst::giou_loss::cuda
