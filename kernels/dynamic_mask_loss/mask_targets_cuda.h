// Code that forward and backward of dynamic_mask_loss share: reading the targets, and the sigmoid.
#pragma once

#include "../common/cuda_numeric.h"
#include "dynamic_mask_loss_cuda.h"

namespace condinst::dynamic_mask_loss::cuda {

// The relative error is about 1e-6 in float32; NaN stays NaN.
template <class Acc>
static __device__ __forceinline__ Acc sigmoid(Acc logit) {
  if constexpr (std::is_same_v<Acc, float>) {
    return __fdividef(1.0f, 1.0f + __expf(-logit));
  } else {
    return 1 / (1 + exp(-logit));
  }
}

static inline __device__ bool target_is_valid(const Targets& targets, int64_t instance) {
  const int64_t target = targets.indices[instance];
  return target >= 0 && target < targets.num_targets;
}

// `count` neighbouring pixels, of which `available` exist; the others are 0. If `aligned`, most of them are read in one
// access.
template <int count, class Acc>
static __device__ __forceinline__ void read_targets(const uint8_t* from, int available, bool aligned,
                                                    Acc (&values)[count]) {
  constexpr int pack_count = count >= 8 ? 8 : count >= 4 ? 4 : 2;
  if (aligned && available >= pack_count) {
    const auto pack = load_pack<pack_count>(from);
#pragma unroll
    for (int i = 0; i < pack_count; ++i) {
      values[i] = static_cast<Acc>(pack.values[i]);
    }
#pragma unroll
    for (int i = pack_count; i < count; ++i) {
      values[i] = i < available ? static_cast<Acc>(from[i]) : Acc(0);
    }
  } else {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      values[i] = i < available ? static_cast<Acc>(from[i]) : Acc(0);
    }
  }
}

}  // namespace condinst::dynamic_mask_loss::cuda
