#include "../common/cuda_launch.h"
#include "../common/cuda_numeric.h"
#include "../common/cuda_reduce.h"
#include "mask_centers_cuda.h"

namespace condinst::mask_centers::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPixels = 16;  // adjacent pixels that a thread loads at once

// One block per band, whose rows are contiguous pixels: fills the entry of the band in partial.
__global__ void __launch_bounds__(kThreads) partial_sums(Args args) {
  const Band band = band_of(args, blockIdx.x);
  const uint8_t* pixels = args.masks + (band.mask * args.height + band.begin) * args.width;
  const int64_t size = (band.end - band.begin) * args.width;
  const bool aligned = is_aligned<kPixels>(pixels);

  int64_t sums[3] = {};  // of x, y and total
  for (int64_t first = threadIdx.x * kPixels; first < size; first += kThreads * kPixels) {
    const auto pack = aligned && first + kPixels <= size ? load_pack<kPixels>(pixels + first)
                                                         : load_some<kPixels>(pixels + first, size - first);
    int64_t y = first / args.width;
    int64_t x = first - y * args.width;
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      const int64_t value = pack.values[i];
      sums[0] += x * value;
      sums[1] += (band.begin + y) * value;
      sums[2] += value;
      if (++x == args.width) {
        x = 0;
        ++y;
      }
    }
  }

  block_sum<kThreads>(sums);
  if (threadIdx.x == 0) {
    args.partial[blockIdx.x] = {sums[0], sums[1], sums[2]};
  }
}

// One warp per mask: adds up the bands.
__global__ void __launch_bounds__(kThreads) finish(Args args) {
  const int64_t mask = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  Sums sums = {};
  if (mask < args.num_masks) {
    for (int64_t band = threadIdx.x % 32; band < args.bands; band += 32) {
      const Sums part = args.partial[mask * args.bands + band];
      sums.x += part.x;
      sums.y += part.y;
      sums.total += part.total;
    }
  }
  sums = {warp_sum(sums.x), warp_sum(sums.y), warp_sum(sums.total)};
  if (mask < args.num_masks && threadIdx.x % 32 == 0) {
    args.centers[2 * mask] = center_of(sums.x, sums.total);
    args.centers[2 * mask + 1] = center_of(sums.y, sums.total);
  }
}

}  // namespace

void centers(const Args& args, void* stream) {
  if (args.num_masks == 0) {
    return;
  }
  if (args.bands > 0) {
    launch("mask_centers partial_sums", partial_sums, grid_size(task_count(args)), kThreads, 0, stream, args);
  }
  constexpr int64_t per_block = kThreads / 32;
  launch("mask_centers finish", finish, grid_size((args.num_masks + per_block - 1) / per_block), kThreads, 0, stream,
         args);
}

}  // namespace condinst::mask_centers::cuda
