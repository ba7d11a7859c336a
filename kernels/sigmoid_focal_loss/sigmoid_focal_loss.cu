#include "../common/cuda_launch.h"
#include "../common/cuda_numeric.h"
#include "../common/loss_cuda.h"
#include "sigmoid_focal_loss_cuda.h"

namespace condinst::sigmoid_focal_loss::cuda {
namespace {

template <class T>
using AccOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class Acc>
__device__ __forceinline__ LossAndGradient<Acc> loss_of(Acc x, bool positive, Acc alpha, Acc gamma) {
  const Acc sign = positive ? -1 : 1;
  const Acc z = x * sign;
  const Logistic<Acc> wrong = logistic(z);
  const Acc power = power_of(
      wrong.sigmoid, gamma, [&] { return (z < 0 ? z : 0) - wrong.tail; }, [](Acc value) { return exp(value); });
  const Acc softplus = (z < 0 ? 0 : z) + wrong.tail;
  auto values = focal_loss(positive ? alpha : 1 - alpha, power, softplus, wrong, gamma);
  values.grad *= sign;
  return values;
}

// One block per chunk. A thread takes packs of adjacent logits, kLossThreads packs apart. The assignment of packs to
// threads, and so the sum, does not depend on the alignment of the logits.
template <class T>
__global__ void __launch_bounds__(kLossThreads) chunk_losses(Args args) {
  using Acc = AccOf<T>;
  constexpr int kCount = kPackCount<T>;
  constexpr int kPacks = static_cast<int>(kChunk) / (kLossThreads * kCount);
  static_assert(kPacks * kLossThreads * kCount == kChunk, "whole packs");
  const LossResults& results = args.results;
  const LossChunk chunk = chunk_of(results, blockIdx.x);
  const int size = static_cast<int>(chunk.size);
  const T* logits = static_cast<const T*>(args.logits) + chunk.first;
  T* grad = results.grad == nullptr ? nullptr : static_cast<T*>(results.grad) + chunk.first;
  const bool whole = size == kChunk && is_aligned<kCount>(logits) && is_aligned<kCount>(grad);

  Pack<T, kCount> x[kPacks];
#pragma unroll
  for (int pack = 0; pack < kPacks; ++pack) {
    const int start = (pack * kLossThreads + threadIdx.x) * kCount;
    x[pack] = whole ? load_pack<kCount>(logits + start) : load_some<kCount>(logits + start, size - start);
  }

  const Acc alpha = static_cast<Acc>(args.alpha);
  const Acc gamma = static_cast<Acc>(args.gamma);
  const uint32_t num_classes = static_cast<uint32_t>(args.num_classes);
  const int64_t first_row = chunk.first / args.num_classes;
  const uint32_t first_column = static_cast<uint32_t>(chunk.first - first_row * args.num_classes);
  Acc sum = 0;
#pragma unroll
  for (int pack = 0; pack < kPacks; ++pack) {
    const int start = (pack * kLossThreads + threadIdx.x) * kCount;
    const uint32_t rows = (first_column + start) / num_classes;
    uint32_t column = first_column + start - rows * num_classes;
    const int64_t* label = args.labels + first_row + rows;
    int64_t positive = start < size ? *label : -1;
    Pack<T, kCount> grads;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (start + i < size) {
        if (column == num_classes) {
          column = 0;
          positive = *++label;
        }
        const auto values = loss_of(widen<Acc>(x[pack].values[i]), positive == column, alpha, gamma);
        const int64_t index = chunk.first + start + i;
        sum += values.loss;
        if (results.losses != nullptr) {
          static_cast<Acc*>(results.losses)[index] = values.loss;
        }
        grads.values[i] = narrow<T>(values.grad * factor_of<Acc>(results, index));
        ++column;
      }
    }
    if (grad != nullptr) {
      whole ? store_pack(grad + start, grads) : store_some(grad + start, grads, size - start);
    }
  }
  write_sum(results, sum);
}

}  // namespace

void losses(const Args& args, void* stream) {
  with_element_type(args.logit_type, [&](auto logit) {
    using T = decltype(logit);
    if constexpr (!std::is_same_v<T, uint8_t>) {
      launch_loss<AccOf<T>>("sigmoid_focal_loss chunk_losses", chunk_losses<T>, args, stream);
    }
  });
}

}  // namespace condinst::sigmoid_focal_loss::cuda
