#include "../common/cuda_launch.h"
#include "../resampling/lines_cuda.h"
#include "masks_to_image_cuda.h"

// The kernel is bound by writing the masks, a byte per pixel: 100 masks of 800 x 1088 take at least 30 us on an H100
// (docs/measurements_gpu.md has the times of an H200). So bytes are written 16 at a time, aligned, wherever a row begins.
// If all cells of these 16 pixels are on the same side of the threshold, which two words in shared memory show, no pixel is
// computed.
namespace condinst::masks_to_image::cuda {
namespace {

using namespace resampling;

constexpr int kThreads = 256;
constexpr int kRows = 16;   // of a block, if they fit
constexpr int kBytes = 16;  // per store

// One block per `rows` rows of a mask.
template <class T>
__global__ void __launch_bounds__(kThreads) resize_rows(Args args, int rows, int64_t blocks_of_mask, uint8_t* masks) {
  const View view{args.rows, args.columns, args.columns.cells, 1};
  const int64_t mask = blockIdx.x / blocks_of_mask;
  const int64_t begin = (blockIdx.x - mask * blocks_of_mask) * rows;
  const int64_t end = min(begin + rows, int64_t{args.rows.pixels});
  const LineTile tile = line_tile(view.along, rows);
  const T* logits = static_cast<const T*>(args.logits) + mask * args.rows.cells * args.columns.cells;
  fill_tile<kThreads>(view, logits, begin, end, args.threshold, tile);

  // The pixels of the block are a range of bytes, divided at addresses that are multiples of 16.
  const int width = args.columns.pixels;
  const int64_t count = (end - begin) * width;
  uint8_t* to = masks + (mask * args.rows.pixels + begin) * width;
  const int64_t before = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) % kBytes);
  for (int64_t chunk = threadIdx.x * kBytes - before; chunk < count; chunk += kThreads * kBytes) {
    const int64_t first = max(chunk, int64_t{0});
    const int available = static_cast<int>(min(chunk + kBytes, count) - first);
    int row = static_cast<int>(static_cast<uint32_t>(first) / static_cast<uint32_t>(width));
    int column = static_cast<int>(first - int64_t{row} * width);
    const Side side = column + available <= width
                          ? side_of(view.along, tile.above + row * tile.words(), column, column + available - 1)
                          : Side::mixed;
    Pack<uint8_t, kBytes> pixels = {};
    if (side == Side::mixed) {
#pragma unroll
      for (int i = 0; i < kBytes; ++i) {
        if (i < available) {
          pixels.values[i] = pixel_above(view.along, tile.cells + row * tile.pitch, column, args.threshold);
          if (++column == width) {
            column = 0;
            ++row;
          }
        }
      }
    } else {
#pragma unroll
      for (int i = 0; i < kBytes; ++i) {
        pixels.values[i] = side == Side::above;
      }
    }
    if (available == kBytes) {
      store_pack(to + first, pixels);
    } else {
      store_some(to + first, pixels, available);
    }
  }
}

}  // namespace

void resize(const Args& args, uint8_t* masks, void* stream) {
  if (args.count == 0) {
    return;
  }
  const int64_t line = LineTile::bytes_of_line(args.columns);
  const int64_t rows = std::clamp<int64_t>(kSharedBytes / line, 1, std::min(kRows, args.rows.pixels));
  const int64_t blocks_of_mask = (args.rows.pixels + rows - 1) / rows;
  with_logit_type(args.type, [&](auto element) {
    launch("masks_to_image resize_rows", resize_rows<decltype(element)>, grid_size(args.count * blocks_of_mask),
           kThreads, static_cast<size_t>(rows * line), stream, args, static_cast<int>(rows), blocks_of_mask, masks);
  });
}

}  // namespace condinst::masks_to_image::cuda
