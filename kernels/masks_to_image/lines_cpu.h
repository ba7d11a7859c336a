// Pixels of an image line by line: a row for masks_to_image, a column for masks_to_rle, whose order is COCO's.
//
// Across lines, three lines of cells are combined into one. Along it, only pixels whose three cells are not all on one
// side of the threshold are computed; the others are on the side of their cells.
#pragma once

#include <algorithm>

#include "../common/simd_math.h"
#include "lines.h"

namespace condinst::resampling {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

constexpr int kWidth = kLanes<float>;
constexpr int kDense = 24;  // of 64 cells

// Bit i is set where values[i] > bound[i].
static inline uint32_t bits_above(FloatVector values, FloatVector bound) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(bit_cast<__m512>(values), bit_cast<__m512>(bound), _CMP_GT_OQ);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(bit_cast<__m256>(values > bound)));
#elif defined(__x86_64__)
  return static_cast<uint32_t>(_mm_movemask_ps(bit_cast<__m128>(values > bound)));
#else
  uint32_t bits = 0;
  for (int lane = 0; lane < kWidth; ++lane) {
    bits |= uint32_t{values[lane] > bound[lane]} << lane;
  }
  return bits;
#endif
}

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

// The lines of cells [lines.begin, lines.end) are rows of the mask.
template <class T>
void fill_rows(const T* logits, int64_t width, float threshold, const Lines& lines) {
  const FloatVector bound = FloatVector{} + threshold;
  for (int64_t line = lines.begin; line < lines.end; ++line) {
    for (int64_t x = 0; x < width; x += kWidth) {
      const int64_t count = std::min<int64_t>(kWidth, width - x);
      const FloatVector cells = probabilities(logits + line * width + x, count);
      store<float, float>(lines.cells_of(line) + x, cells);
      extend(lines, line - lines.begin, x, bits_above(cells, bound) & ((1u << count) - 1));
    }
  }
}

// The lines of cells [lines.begin, lines.end) are columns of the mask.
template <class T>
void fill_columns(const T* logits, int64_t height, int64_t width, float threshold, const Lines& lines) {
  const FloatVector bound = FloatVector{} + threshold;
  for (int64_t y = 0; y < height; y += kWidth) {
    const int64_t rows = std::min<int64_t>(kWidth, height - y);
    for (int64_t x = lines.begin; x < lines.end; x += kWidth) {
      const int64_t columns = std::min<int64_t>(kWidth, lines.end - x);
      float block[kWidth][kWidth];
      uint32_t any_above = 0;
      for (int64_t row = 0; row < kWidth; ++row) {
        const FloatVector cells =
            row < rows ? probabilities(logits + (y + row) * width + x, columns) : FloatVector{} + kNotANumber;
        any_above |= bits_above(cells, bound);
        store<float, float>(block[row], cells);
      }
      for (int64_t column = 0; column < columns; ++column) {
        FloatVector cells;
        for (int row = 0; row < kWidth; ++row) {
          cells[row] = block[row][column];
        }
        store<float, float>(lines.cells_of(x + column) + y, cells);
        if (any_above >> column & 1) {
          extend(lines, x + column - lines.begin, y, bits_above(cells, bound));
        }
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

// Bits of kWidth pixels from `pixel` on, of which the first `count` are wanted.
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

// Gives the pixels of line `pixel_line`, from the first to the last, to the sink: uniform(begin, end, value) and
// mixed(begin, count, bits), count <= kWidth.
template <class Sink>
void give_line(const Axis& across, const Axis& along, int64_t pixel_line, float threshold, const Lines& lines,
               Sink& sink) {
  const int64_t line = across.first[pixel_line];
  const float* taps[kTaps];
  FloatVector weights[kTaps];
  int32_t low = along.cells;
  int32_t high = -1;
  for (int tap = 0; tap < kTaps; ++tap) {
    const int64_t own = line + tap < across.cells ? line + tap : line;  // after the last the weight is 0
    low = std::min(low, lines.low[own - lines.begin]);
    high = std::max(high, lines.high[own - lines.begin]);
    taps[tap] = lines.cells_of(own);
    weights[tap] = FloatVector{} + across.weights[tap * int64_t{across.pixels} + pixel_line];
  }
  if (high < low) {  // a sum of cells that are not above the threshold is not, either
    return sink.uniform(0, along.pixels, false);
  }

  // Combine. Two cells on both sides of those above are taps, too.
  const int64_t words = along.cells / 64 + 2;
  std::fill(lines.above, lines.above + words, 0);
  const FloatVector bound = FloatVector{} + threshold;
  const int64_t last = std::min(high + 2, along.cells - 1);
  for (int64_t cell = std::max(low - 2, 0) / kWidth * kWidth; cell <= last; cell += kWidth) {
    FloatVector value = weights[0] * load<float>(taps[0] + cell);
    value = weights[1] * load<float>(taps[1] + cell) + value;
    value = weights[2] * load<float>(taps[2] + cell) + value;
    store<float, float>(lines.combined + cell, value);
    lines.above[cell / 64] |= uint64_t{bits_above(value, bound)} << (cell % 64);
  }
  // Three cells that are not on one side. Where many are not, to compute all pixels takes less than to choose.
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
    const int64_t end = along.begin[cell];
    for (int64_t pixel = along.begin[begin]; pixel < end; pixel += kWidth) {
      const int64_t count = std::min<int64_t>(kWidth, end - pixel);
      sink.mixed(pixel, count, pixels_above(along, lines.combined, pixel, count, bound));
    }
  }
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst::resampling
