#include "../mask_network/mask_backward_cuda.h"
#include "dynamic_mask_head_cuda.h"

namespace condinst::dynamic_mask_head::cuda {
namespace {

using namespace mask_network::cuda;

// The gradients of the logits, from the caller.
struct GradLogitsSource {
  const void* grad_logits;  // [num_instances, height * factor, width * factor] of `type`
  ElementType type;

  static constexpr bool rim = false;

  __device__ bool is_valid(int64_t) const { return true; }

  // Where the map of an instance begins.
  template <class Acc>
  __device__ __forceinline__ int64_t prepare(const Inputs& inputs, int64_t instance) const {
    return instance * inputs.factor * inputs.height * inputs.factor * inputs.width;
  }

  template <int factor, int cells, class Acc>
  __device__ __forceinline__ void read(int64_t offset, const Inputs& inputs, const LogitTile<Acc>&, int i, int column,
                                       Acc (&values)[factor * cells + kReach<factor>]) const {
    if constexpr (std::is_same_v<Acc, double>) {
      read_as<factor, cells, double>(offset, inputs, i, column, values);
    } else if (type == ElementType::float32) {
      read_as<factor, cells, float>(offset, inputs, i, column, values);
    } else if (type == ElementType::float16) {
      read_as<factor, cells, Half>(offset, inputs, i, column, values);
    } else {
      read_as<factor, cells, BFloat16>(offset, inputs, i, column, values);
    }
  }

 private:
  template <int factor, int cells, class T, class Acc>
  __device__ __forceinline__ void read_as(int64_t offset, const Inputs& inputs, int i, int column,
                                          Acc (&values)[factor * cells + kReach<factor>]) const {
    constexpr int left = kReach<factor> - factor / 2;  // values before those of the cells
    constexpr int count = factor * cells;
    constexpr int pack = count * sizeof(T) > 16 ? 16 / static_cast<int>(sizeof(T)) : count;
    const int width = inputs.width * factor;
    const int first = column * factor;
    const bool in_map = i >= 0 && i < inputs.height * factor;
    const T* from = static_cast<const T*>(grad_logits) + offset + static_cast<int64_t>(in_map ? i : 0) * width + first;
    const bool aligned = width % pack == 0 && reinterpret_cast<uintptr_t>(grad_logits) % 16 == 0;
    const auto read_one = [&](int at) {
      return in_map && first + at >= 0 && first + at < width ? widen<Acc>(from[at]) : Acc(0);
    };
    if (in_map && aligned && first + count <= width) {
#pragma unroll
      for (int begin = 0; begin < count; begin += pack) {
        const auto some = load_pack<pack>(from + begin);
#pragma unroll
        for (int j = 0; j < pack; ++j) {
          values[left + begin + j] = widen<Acc>(some.values[j]);
        }
      }
    } else {
#pragma unroll
      for (int j = 0; j < count; ++j) {
        values[left + j] = read_one(j);
      }
    }
#pragma unroll
    for (int j = 0; j < left; ++j) {
      values[j] = read_one(j - left);
    }
#pragma unroll
    for (int j = left + count; j < count + kReach<factor>; ++j) {
      values[j] = read_one(j - left);
    }
  }
};

}  // namespace

void backward(const Inputs& inputs, const void* grad_logits, ElementType type, void* grad_features, void* grad_params,
              void* scratch, void* stream) {
  launch_backward("dynamic_mask_head backward", inputs, GradLogitsSource{grad_logits, type}, grad_features, grad_params,
                  scratch, stream);
}

}  // namespace condinst::dynamic_mask_head::cuda
