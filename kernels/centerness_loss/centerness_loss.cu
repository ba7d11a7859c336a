#include "../common/cuda_launch.h"
#include "../common/cuda_numeric.h"
#include "../common/loss_cuda.h"
#include "centerness_loss_cuda.h"

namespace condinst::centerness_loss::cuda {
namespace {

template <class T>
using AccOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

// One block per chunk; neighbouring threads take neighbouring elements.
template <class T>
__global__ void __launch_bounds__(kLossThreads) chunk_losses(Args args) {
  using Acc = AccOf<T>;
  const LossResults& results = args.results;
  const LossChunk chunk = chunk_of(results, blockIdx.x);
  Acc sum = 0;
  for (int64_t i = chunk.first + threadIdx.x; i < chunk.first + chunk.size; i += kLossThreads) {
    const Acc x = widen<Acc>(static_cast<const T*>(args.logits)[i]);
    const Acc zero = 0;
    const auto values = cross_entropy(x < 0 ? zero : x, x < 0 ? -x : zero, logistic(x),
                                      static_cast<const Acc*>(args.targets)[i]);
    sum += values.loss;
    if (results.losses != nullptr) {
      static_cast<Acc*>(results.losses)[i] = values.loss;
    }
    if (results.grad != nullptr) {
      static_cast<T*>(results.grad)[i] = narrow<T>(values.grad * factor_of<Acc>(results, i));
    }
  }
  write_sum(results, sum);
}

}  // namespace

void losses(const Args& args, void* stream) {
  with_element_type(args.logit_type, [&](auto logit) {
    using T = decltype(logit);
    if constexpr (!std::is_same_v<T, uint8_t>) {
      launch_loss<AccOf<T>>("centerness_loss chunk_losses", chunk_losses<T>, args, stream);
    }
  });
}

}  // namespace condinst::centerness_loss::cuda
