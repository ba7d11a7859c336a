#include "../mask_network/mask_forward_cuda.h"
#include "dynamic_mask_head_cuda.h"

namespace condinst::dynamic_mask_head::cuda {
namespace {

using namespace mask_network::cuda;

// Writes the upsampled logits in runs of 16 bytes.
struct LogitsSink {
  void* logits;  // [num_instances, height * factor, width * factor] of `type`
  ElementType type;

  size_t shared_bytes(const ForwardTiling&) const { return 0; }

  __device__ bool is_valid(int64_t) const { return true; }

  template <class Acc>
  __device__ __forceinline__ void take(const Inputs& inputs, const Tile& tile, const LogitTile<Acc>& of_tile,
                                       int64_t instance, bool, int, Acc*) const {
    with_factor(inputs.factor, [&](auto factor) {
      if constexpr (std::is_same_v<Acc, double>) {
        write<factor, double>(inputs, tile, of_tile, instance);
      } else if (type == ElementType::float32) {
        write<factor, float>(inputs, tile, of_tile, instance);
      } else if (type == ElementType::float16) {
        write<factor, Half>(inputs, tile, of_tile, instance);
      } else {
        write<factor, BFloat16>(inputs, tile, of_tile, instance);
      }
    });
  }

  __device__ void finish(const ForwardTiling&, int, int64_t, int, void*) const {}

 private:
  template <int factor, class T, class Acc>
  __device__ __forceinline__ void write(const Inputs& inputs, const Tile& tile, const LogitTile<Acc>& of_tile,
                                        int64_t instance) const {
    constexpr int count = factor > 1 && sizeof(T) == 2 ? 8 : 4;
    constexpr int cells = count / factor;
    constexpr int pack = count * sizeof(T) > 16 ? 16 / static_cast<int>(sizeof(T)) : count;
    const int width = inputs.width * factor;
    const int64_t size = static_cast<int64_t>(inputs.height) * factor * width;
    T* map = static_cast<T*>(logits) + instance * size;
    const bool aligned = width % count == 0 && reinterpret_cast<uintptr_t>(logits) % 16 == 0;
    for_each_run<factor, cells>(tile, inputs.width, [&](int i, int column) {
      Acc values[count];
      upsample<factor, cells, 0>(of_tile, i, column, values);
      T* to = map + static_cast<int64_t>(i) * width + column * factor;
#pragma unroll
      for (int begin = 0; begin < count; begin += pack) {
        Pack<T, pack> some;
#pragma unroll
        for (int j = 0; j < pack; ++j) {
          some.values[j] = narrow<T>(values[begin + j]);
        }
        if (aligned) {
          store_pack(to + begin, some);
        } else {
          store_some(to + begin, some, width - column * factor - begin);
        }
      }
    });
  }
};

}  // namespace

void forward(const Inputs& inputs, void* logits, ElementType type, void* stream) {
  launch_forward("dynamic_mask_head", inputs, stream,
                 [&](auto, const ForwardTiling&) { return LogitsSink{logits, type}; });
}

}  // namespace condinst::dynamic_mask_head::cuda
