#include "../common/cuda_launch.h"
#include "../common/cuda_numeric.h"
#include "pack_masks_cuda.h"

namespace condinst::pack_masks::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kWarpWords = 16;                       // two votes of a warp make a word
constexpr int kVotes = 2 * kWarpWords;               // a word per lane
constexpr int64_t kWarpPixels = kVotes * kWarp;

static inline CONDINST_HOST_DEVICE int64_t warps_of_mask(const Args& args) {
  return (args.mask_words + kWarpWords - 1) / kWarpWords;
}

template <class T>
__device__ __forceinline__ bool is_set(T pixel, double threshold) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    return pixel != 0;
  } else {
    using Acc = std::conditional_t<std::is_same_v<T, double>, double, float>;
    return widen<Acc>(pixel) > static_cast<Acc>(threshold);
  }
}

// One warp per 1024 pixels of a mask. Adjacent lanes read adjacent pixels for any start of the mask.
template <class T>
__global__ void __launch_bounds__(kThreads) pack_pixels(Args args) {
  const int lane = threadIdx.x % kWarp;
  const int64_t warp = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  const int64_t mask = warp / warps_of_mask(args);
  if (mask >= args.count) {
    return;  // uniform over the warp, and no barrier follows
  }
  const int64_t first = (warp - mask * warps_of_mask(args)) * kWarpPixels;
  const T* pixels = static_cast<const T*>(args.masks) + mask * args.size + first;
  const int64_t rest = args.size - first;

  unsigned own = 0;  // Bit i belongs to pixel 32 i + lane. All loads come first, so that their latencies overlap.
#pragma unroll
  for (int vote = 0; vote < kVotes; ++vote) {
    const int64_t pixel = vote * kWarp + lane;
    if (pixel < rest && is_set(pixels[pixel], args.threshold)) {
      own |= 1u << vote;
    }
  }
  unsigned half_word = 0;
#pragma unroll
  for (int vote = 0; vote < kVotes; ++vote) {
    if (vote * kWarp < rest) {  // uniform over the warp
      const unsigned lanes = __ballot_sync(0xffffffffu, own >> vote & 1);
      half_word = vote == lane ? lanes : half_word;
    }
  }
  const unsigned upper = __shfl_down_sync(0xffffffffu, half_word, 1);
  const int64_t word = first / kWordBits + lane / 2;
  if (lane % 2 == 0 && word < args.mask_words) {
    args.words[mask * args.mask_words + word] = half_word | static_cast<uint64_t>(upper) << 32;
  }
}

}  // namespace

void pack(const Args& args, void* stream) {
  const int64_t warps = args.count * warps_of_mask(args);
  if (warps == 0) {
    return;
  }
  constexpr int64_t warps_of_block = kThreads / kWarp;
  with_element_type(args.type, [&](auto element) {
    launch("pack_masks pack_pixels", pack_pixels<decltype(element)>,
           grid_size((warps + warps_of_block - 1) / warps_of_block), kThreads, 0, stream, args);
  });
}

}  // namespace condinst::pack_masks::cuda
