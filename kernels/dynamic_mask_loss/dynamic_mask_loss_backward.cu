#include "../common/dice.h"
#include "../mask_network/mask_backward_cuda.h"
#include "dynamic_mask_loss_cuda.h"
#include "mask_targets_cuda.h"

namespace condinst::dynamic_mask_loss::cuda {
namespace {

using namespace mask_network::cuda;

// Computes the masks again, and from them the gradients of the logits.
struct DiceSource {
  Targets targets;
  const void* grad_losses;  // [num_instances] Acc
  const void* sums;         // [num_instances, 2] Acc

  static constexpr bool rim = true;

  __device__ bool is_valid(int64_t instance) const { return target_is_valid(targets, instance); }

  template <class Acc>
  struct OfInstance {
    dice::Gradient<Acc> gradient;
    const uint8_t* target;
    bool aligned;
  };

  template <class Acc>
  __device__ __forceinline__ OfInstance<Acc> prepare(const Inputs& inputs, int64_t instance) const {
    const Acc* of_instance = static_cast<const Acc*>(sums) + 2 * instance;
    const int64_t size = int64_t{inputs.factor} * inputs.height * inputs.factor * inputs.width;
    return {dice::gradient(static_cast<const Acc*>(grad_losses)[instance], of_instance[0], of_instance[1]),
            targets.masks + targets.indices[instance] * size,
            inputs.factor * inputs.width % 8 == 0 && reinterpret_cast<uintptr_t>(targets.masks) % 8 == 0};
  }

  template <int factor, int cells, class Acc>
  __device__ __forceinline__ void read(const OfInstance<Acc>& of_instance, const Inputs& inputs,
                                       const LogitTile<Acc>& of_tile, int i, int column,
                                       Acc (&values)[factor * cells + kReach<factor>]) const {
    constexpr int count = factor * cells + kReach<factor>;
    constexpr int begin = factor / 2 - kReach<factor>;
    const int width = inputs.width * factor;
    const int first = column * factor + begin;
    if (i < 0 || i >= inputs.height * factor) {
#pragma unroll
      for (int j = 0; j < count; ++j) {
        values[j] = 0;
      }
      return;
    }
    Acc logits[count];
    upsample<factor, cells, begin>(of_tile, i, column, logits);
    const uint8_t* row = of_instance.target + static_cast<int64_t>(i) * width + first;
    Acc t[count] = {};
    if (first >= 0) {
      read_targets(row, width - first, begin == 0 && of_instance.aligned, t);
    } else {
#pragma unroll
      for (int j = 0; j < count; ++j) {
        t[j] = first + j >= 0 && first + j < width ? static_cast<Acc>(row[j]) : Acc(0);
      }
    }
#pragma unroll
    for (int j = 0; j < count; ++j) {
      const bool in_map = first + j >= 0 && first + j < width;
      const Acc p = sigmoid(logits[j]);
      const Acc grad = of_instance.gradient.scale * (of_instance.gradient.ratio * p - t[j]);
      values[j] = in_map ? grad * (p * (1 - p)) : Acc(0);
    }
  }
};

}  // namespace

void backward(const Inputs& inputs, const Targets& targets, const void* grad_losses, const void* sums,
              void* grad_features, void* grad_params, void* scratch, void* stream) {
  launch_backward("dynamic_mask_loss backward", inputs, DiceSource{targets, grad_losses, sums},
                                           grad_features, grad_params, scratch, stream);
}

}  // namespace condinst::dynamic_mask_loss::cuda
