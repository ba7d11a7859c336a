// Computes the pixels of an image line by line: rows for masks_to_image, and columns for masks_to_rle, the order of COCO.
//
// Across lines, three lines of cells are combined into one line. Along this line, only pixels whose three cells are not all
// on the same side of the threshold are computed; the others are on the side of their cells.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "../common/simd_compare.h"
#include "../common/simd_math.h"
#include "lines.h"

namespace condinst::resampling {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

constexpr int kWidth = kLanes<float>;
constexpr int kDense = 24;  // of 64 cells

// from[places[lane]], places in 0 .. kWidth - 1
static inline FloatVector permuted(FloatVector from, IntVector places) {
#if defined(__AVX512F__)
  return bit_cast<FloatVector>(
      _mm512_maskz_permutexvar_ps(0xffff, bit_cast<__m512i>(places), bit_cast<__m512>(from)));
#elif defined(__AVX2__)
  return bit_cast<FloatVector>(_mm256_permutevar8x32_ps(bit_cast<__m256>(from), bit_cast<__m256i>(places)));
#else
  FloatVector to = {};
  for (int lane = 0; lane < kWidth; ++lane) {
    to[lane] = from[places[lane] & (kWidth - 1)];
  }
  return to;
#endif
}

template <class T>
static inline FloatVector probabilities(const T* logits, int64_t count) {
  const FloatVector x = count < kWidth ? load_first<float>(logits, count) : load<float>(logits);
  const UIntVector is_number = bit_cast<UIntVector>(x == x);
  return bit_cast<FloatVector>(choose(is_number, bit_cast<UIntVector>(sigmoid(x)),
                                      bit_cast<UIntVector>(FloatVector{} + kNotANumber)));
}

static inline void extend(const Lines& lines, int64_t line, int64_t first, uint32_t above) {
  if (above != 0) {
    lines.low[line] = std::min(lines.low[line], static_cast<int32_t>(first + __builtin_ctz(above)));
    lines.high[line] = std::max(lines.high[line], static_cast<int32_t>(first + 31 - __builtin_clz(above)));
  }
}

// Cells [row, row_end) x [column, column_end) of a mask, in blocks of kWidth x kWidth.
struct Blocks {
  int64_t row, row_end, column, column_end;
  uint8_t* marks;  // [rows of blocks, pitch], with an additional block on each side
  int64_t pitch;

  uint8_t* mark(int64_t y, int64_t x) const { return marks + ((y - row) / kWidth + 1) * pitch + (x - column) / kWidth + 1; }

  // Whether the block at (y, x), or one of the eight blocks around it, is marked.
  bool is_near(int64_t y, int64_t x) const {
    int any = 0;
    for (int64_t down = -1; down <= 1; ++down) {
      const uint8_t* at = mark(y, x) + down * pitch;
      any |= at[-1] | at[0] | at[1];
    }
    return any != 0;
  }
};

// Marks the blocks with a cell that may be above the lower bound. Other cells, except those nearby, only need to be not
// above the bound, because a pixel depends on three by three cells.
template <class T>
static inline Blocks mark_blocks(const T* logits, int64_t width, int64_t row, int64_t row_end, int64_t column,
                                 int64_t column_end, float low, uint8_t* marks) {
  static_assert(kWidth >= kSmallestBlock);
  const int64_t rows_of_blocks = marks_on(row_end - row, kWidth);
  const Blocks blocks{row, row_end, column, column_end, marks, marks_on(column_end - column, kWidth)};
  std::memset(marks, 0, static_cast<size_t>(rows_of_blocks * blocks.pitch));
  if (low < 0) {  // every cell
    std::memset(marks, 1, static_cast<size_t>(rows_of_blocks * blocks.pitch));
    return blocks;
  }
  // Lower by more than any rounding of the sigmoid; there is no bound if the threshold is 0.
  const FloatVector bound = FloatVector{} + (std::log(low / (1 - low)) - 1e-3f);
  for (int64_t y = row; y < row_end; ++y) {
    for (int64_t x = column; x < column_end; x += kWidth) {
      const int64_t count = std::min<int64_t>(kWidth, column_end - x);
      const T* at = logits + y * width + x;
      const FloatVector cells = count < kWidth ? load_first<float>(at, count) : load<float>(at);
      *blocks.mark(y, x) |= bits_above(cells, bound) != 0;
    }
  }
  return blocks;
}

// The lines of cells [lines.begin, lines.end) are rows of the mask.
template <class T, bool exact>
void fill_rows(const T* logits, int64_t width, const Bounds<exact>& bounds, const Lines& lines) {
  const FloatVector bound = FloatVector{} + bounds.low;
  const Blocks blocks = mark_blocks(logits, width, lines.begin, lines.end, 0, width, bounds.low, lines.marks);
  for (int64_t line = lines.begin; line < lines.end; ++line) {
    for (int64_t x = 0; x < width; x += kWidth) {
      FloatVector cells = {};
      if (blocks.is_near(line, x)) {
        const int64_t count = std::min<int64_t>(kWidth, width - x);
        cells = probabilities(logits + line * width + x, count);
        extend(lines, line - lines.begin, x, bits_above(cells, bound) & ((1u << count) - 1));
      }
      store<float, float>(lines.cells_of(line) + x, cells);
    }
  }
}

// Selects lanes of two vectors by constants; the lanes of b begin at kWidth.
template <int... places>
static inline FloatVector chosen(FloatVector a, FloatVector b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, places...);
#else
  return __builtin_shuffle(a, b, IntVector{places...});
#endif
}

// Swaps the off-diagonal squares of side `side`, in all squares of twice that side.
template <int side, int... lanes>
static inline void swap_squares(FloatVector* rows, std::integer_sequence<int, lanes...>) {
  for (int row = 0; row < kWidth; ++row) {
    if ((row & side) == 0) {
      const FloatVector upper = rows[row];
      const FloatVector lower = rows[row + side];
      rows[row] = chosen<(lanes & side ? kWidth + lanes - side : lanes)...>(upper, lower);
      rows[row + side] = chosen<(lanes & side ? kWidth + lanes : lanes + side)...>(upper, lower);
    }
  }
}

template <int side = kWidth / 2>
static inline void transpose(FloatVector* rows) {
  swap_squares<side>(rows, std::make_integer_sequence<int, kWidth>());
  if constexpr (side > 1) {
    transpose<side / 2>(rows);
  }
}

// The lines of cells [lines.begin, lines.end) are columns of the mask.
template <class T, bool exact>
void fill_columns(const T* logits, int64_t height, int64_t width, const Bounds<exact>& bounds, const Lines& lines) {
  const FloatVector bound = FloatVector{} + bounds.low;
  const Blocks blocks = mark_blocks(logits, width, 0, height, lines.begin, lines.end, bounds.low, lines.marks);
  for (int64_t y = 0; y < height; y += kWidth) {
    for (int64_t x = lines.begin; x < lines.end; x += kWidth) {
      const int64_t columns = std::min<int64_t>(kWidth, lines.end - x);
      if (!blocks.is_near(y, x)) {
        for (int64_t column = 0; column < columns; ++column) {
          store<float, float>(lines.cells_of(x + column) + y, FloatVector{});
        }
        continue;
      }
      FloatVector block[kWidth];
      for (int64_t row = 0; row < kWidth; ++row) {
        block[row] = y + row < height ? probabilities(logits + (y + row) * width + x, columns)
                                      : FloatVector{} + kNotANumber;
      }
      transpose(block);
      for (int64_t column = 0; column < columns; ++column) {
        store<float, float>(lines.cells_of(x + column) + y, block[column]);
        extend(lines, x + column - lines.begin, y, bits_above(block[column], bound));
      }
    }
  }
}

// First set bit of words at or after `from`, or `end`.
static inline int64_t next_set(const uint64_t* words, int64_t from, int64_t end, uint64_t flip) {
  int64_t word = from / 64;
  uint64_t bits = (words[word] ^ flip) & (~uint64_t{0} << (from % 64));
  while (bits == 0) {
    if (++word * 64 >= end) {
      return end;
    }
    bits = words[word] ^ flip;
  }
  return std::min<int64_t>(end, word * 64 + __builtin_ctzll(bits));
}

// Bits of kWidth pixels from `pixel` on, of which only the first `count` are used.
static inline uint32_t pixels_above(const Axis& along, const float* cells, int64_t pixel, int64_t count,
                                    FloatVector bound) {
  const int32_t* first = along.first + pixel;
  const float* weights = along.weights + pixel;
  const auto sum = [&](FloatVector a, FloatVector b, FloatVector c) {
    FloatVector value = load<float>(weights) * a;
    value = load<float>(weights + along.pixels) * b + value;
    value = load<float>(weights + 2 * int64_t{along.pixels}) * c + value;
    return bits_above(value, bound);
  };
  const int32_t base = first[0];
  if (first[count - 1] - base < kWidth) {
    const IntVector places = load_bits<IntVector>(first) - base;
    return sum(permuted(load<float>(cells + base), places), permuted(load<float>(cells + base + 1), places),
               permuted(load<float>(cells + base + 2), places));
  }
  FloatVector taps[kTaps] = {};
  for (int64_t lane = 0; lane < count; ++lane) {
    for (int tap = 0; tap < kTaps; ++tap) {
      taps[tap][lane] = cells[first[lane] + tap];
    }
  }
  return sum(taps[0], taps[1], taps[2]);
}

// Passes the pixels of line `pixel_line`, from the first to the last, to the sink: uniform(begin, end, value) and
// mixed(begin, end, bits), where bits(pixel, count) are the bits of count <= kWidth pixels.
template <class Sink>
void give_line(const Axis& across, const Axis& along, int64_t pixel_line, const Bounds<false>& bounds,
               const Lines& lines, Sink& sink) {
  const int64_t line = across.first[pixel_line];
  const float* taps[kTaps];
  FloatVector weights[kTaps];
  int32_t low = along.cells;
  int32_t high = -1;
  for (int tap = 0; tap < kTaps; ++tap) {
    const int64_t own = line + tap < across.cells ? line + tap : line;  // after the last cell the weight is 0
    low = std::min(low, lines.low[own - lines.begin]);
    high = std::max(high, lines.high[own - lines.begin]);
    taps[tap] = lines.cells_of(own);
    weights[tap] = FloatVector{} + across.weights[tap * int64_t{across.pixels} + pixel_line];
  }
  if (high < low) {  // a sum of cells that are not above the lower bound is not above the threshold
    return sink.uniform(0, along.pixels, false);
  }

  // Combines the cells above the bound, and two cells on either side of them, because pixels depend on these, too.
  const int64_t words = along.cells / 64 + 2;
  std::fill(lines.above, lines.above + words, 0);
  const FloatVector bound = FloatVector{} + bounds.threshold;
  const int64_t last = std::min(high + 2, along.cells - 1);
  for (int64_t cell = std::max(low - 2, 0) / kWidth * kWidth; cell <= last; cell += kWidth) {
    FloatVector value = weights[0] * load<float>(taps[0] + cell);
    value = weights[1] * load<float>(taps[1] + cell) + value;
    value = weights[2] * load<float>(taps[2] + cell) + value;
    store<float, float>(lines.combined + cell, value);
    lines.above[cell / 64] |= uint64_t{bits_above(value, bound)} << (cell % 64);
  }
  lines.combined[along.cells] = lines.combined[along.cells + 1] = 0;  // taps after the last cell must not be NaN
  // Marks three cells that are not on the same side. If there are many, computing all pixels is faster than selecting them.
  for (int64_t word = 0; word + 1 < words; ++word) {
    const uint64_t here = lines.above[word];
    const uint64_t next = lines.above[word + 1];
    const uint64_t mixed = (here ^ (here >> 1 | next << 63)) | (here ^ (here >> 2 | next << 62));
    const bool is_dense = __builtin_popcountll(mixed) > kDense;
    lines.mixed[word] =
        is_dense ? ~uint64_t{0} << __builtin_ctzll(mixed) & ~uint64_t{0} >> __builtin_clzll(mixed) : mixed;
  }

  for (int64_t cell = 0; cell < along.cells;) {
    const int64_t begin = next_set(lines.mixed, cell, along.cells, 0);
    if (along.begin[cell] < along.begin[begin]) {
      sink.uniform(along.begin[cell], along.begin[begin], lines.above[cell / 64] >> (cell % 64) & 1);
    }
    if (begin == along.cells) {
      break;
    }
    cell = next_set(lines.mixed, begin, along.cells, ~uint64_t{0});
    sink.mixed(along.begin[begin], along.begin[cell], [&](int64_t pixel, int64_t count) {
      return pixels_above(along, lines.combined, pixel, count, bound);
    });
  }
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst::resampling
