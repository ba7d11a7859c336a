// The data of a band of lines of a mask in the CPU kernels of masks_to_image and masks_to_rle.
#pragma once

#include <algorithm>
#include <cstdint>

#include "resampling.h"

namespace condinst::resampling {

constexpr int64_t kAfterCells = 64;  // numbers after the cells of a line that vectors may write or read

// Lines [begin, end) of cells, in memory of the caller. A line is as long as the axis along it has cells.
struct Lines {
  int64_t begin, end;
  int64_t pitch;       // between lines
  float* cells;        // [end - begin, pitch] probabilities
  int32_t* low;        // [end - begin] first cell above the lower bound; otherwise the number of cells
  int32_t* high;       // [end - begin] last cell above it, or -1
  float* combined;     // [pitch] the cells of one line of pixels
  uint64_t* above;     // [words] bits of cells that are above the upper bound, see Bounds
  uint64_t* possible;  // [words] bits of cells that are above the lower bound; only for panoptic_merge
  uint64_t* mixed;     // [words] first cells of three that are not on the same side
  uint8_t* marks;      // of blocks of cells, see mark_blocks

  float* cells_of(int64_t line) const { return cells + (line - begin) * pitch; }
};

static inline int64_t pitch_of(int64_t cells) { return (cells + kAfterCells) / 16 * 16; }

// The lines of cells that lines of pixels [begin, end) need.
static inline int64_t first_line(const Axis& across, int64_t begin) { return across.first[begin]; }

static inline int64_t last_line(const Axis& across, int64_t end) {
  return std::min<int64_t>(across.first[end - 1] + kTaps, across.cells);
}

constexpr int64_t kSmallestBlock = 4;  // cells on a side

// The number of blocks on a side, with one more before and after them.
static inline int64_t marks_on(int64_t cells, int64_t block) { return (cells + block - 1) / block + 2; }

// The size in numbers of eight bytes.
static inline int64_t scratch_size(const Axis& across, const Axis& along, int64_t begin, int64_t end) {
  const int64_t count = last_line(across, end) - first_line(across, begin);
  const int64_t marks = marks_on(count, kSmallestBlock) * marks_on(along.cells, kSmallestBlock);
  return 3 * (along.cells / 64 + 2) + ((count + 1) * pitch_of(along.cells) + 2 * count + 1) / 2 + marks / 8 + 1;
}

static inline Lines lines_in(uint64_t* scratch, const Axis& across, const Axis& along, int64_t begin, int64_t end) {
  Lines lines{};
  lines.begin = first_line(across, begin);
  lines.end = last_line(across, end);
  const int64_t count = lines.end - lines.begin;
  lines.pitch = pitch_of(along.cells);
  lines.above = scratch;
  lines.possible = lines.above + along.cells / 64 + 2;
  lines.mixed = lines.possible + along.cells / 64 + 2;
  lines.cells = reinterpret_cast<float*>(lines.mixed + along.cells / 64 + 2);
  lines.combined = lines.cells + count * lines.pitch;
  lines.low = reinterpret_cast<int32_t*>(lines.combined + lines.pitch);
  lines.high = lines.low + count;
  lines.marks = reinterpret_cast<uint8_t*>(lines.high + count);
  std::fill(lines.low, lines.low + count, along.cells);
  std::fill(lines.high, lines.high + count, -1);
  return lines;
}

}  // namespace condinst::resampling
