// Keys of candidates in CUDA kernels.
#pragma once

#include "../common/cuda_launch.h"
#include "suppression_cuda.h"

namespace condinst::suppression::cuda {

static __device__ __forceinline__ bool is_before(const Key& one, const Key& other) {
  if (one.image != other.image) {
    return one.image < other.image;
  }
  return one.label != other.label ? one.label < other.label : one.score_and_index < other.score_and_index;
}

static __device__ __forceinline__ bool is_same_group(const Key& one, const Key& other) {
  return one.image == other.image && one.label == other.label;
}

static __device__ __forceinline__ int64_t candidate_of(const Key& key) {
  return static_cast<int64_t>(key.score_and_index & 0xffffffffu);
}

}  // namespace condinst::suppression::cuda
