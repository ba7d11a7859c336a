#include "rows_cpu.h"

namespace condinst::panoptic_merge {
namespace CONDINST_ISA {
namespace {

using resampling::Lines;

// Bits [from, from + 64) of a row, which has an additional word after its last word.
static inline uint64_t bits_at(const uint64_t* row, int64_t from) {
  const int64_t shift = from % kWord;
  const uint64_t low = row[from / kWord] >> shift;
  return shift == 0 ? low : low | row[from / kWord + 1] << (kWord - shift);
}

// Draws `count` <= vectors * kWidth pixels from `pixel` on into rows [begin, end), which depend on the same three rows of
// cells. The first cells of the pixels are `cell` or one of the kTile - 1 cells after it. Returns the pixels that are set.
template <int vectors, int taps>
static int64_t draw_pixels(const Image& image, const float* const* cells, int64_t begin, int64_t end, int64_t cell,
                           int64_t pixel, int64_t count, FloatVector bound, uint64_t* bits, int64_t words) {
  const Axis& across = image.mask_rows;
  const Axis& along = image.mask_columns;
  IntVector from[vectors];
  FloatVector weights[vectors][kTaps];
  for (int i = 0; i < vectors; ++i) {
    const int64_t at = pixel + (i * kWidth < count ? i * kWidth : 0);  // the other lanes may have any value
    from[i] = load_bits<IntVector>(along.first + at) - static_cast<int32_t>(cell);
    for (int tap = 0; tap < taps; ++tap) {
      weights[i][tap] = load<float>(along.weights + tap * int64_t{along.pixels} + at);
    }
  }
  FloatVector of_rows[kTaps];
  for (int tap = 0; tap < taps; ++tap) {
    of_rows[tap] = load<float>(cells[tap] + cell);
  }
  int64_t area = 0;
  uint64_t* to = bits + pixel / kWord;
  for (int64_t y = begin; y < end; ++y, to += words) {
    FloatVector of_row[kTaps];
    for (int tap = 0; tap < taps; ++tap) {
      of_row[tap] = FloatVector{} + across.weights[tap * int64_t{across.pixels} + y];
    }
    const FloatVector combined = sum<taps>(of_row, of_rows);
    uint64_t above = 0;
    for (int i = 0; i < vectors; ++i) {
      FloatVector columns[kTaps];
      for (int tap = 0; tap < taps; ++tap) {
        columns[tap] = permuted(combined, from[i] + tap);
      }
      above |= uint64_t{bits_above(sum<taps>(weights[i], columns), bound)} << (i * kWidth);
    }
    above &= first_bits(count);
    area += __builtin_popcountll(above);
    to[0] |= above << (pixel % kWord);
    if (pixel % kWord + count > kWord) {
      to[1] |= above >> (kWord - pixel % kWord);
    }
  }
  return area;
}

// Draws rows [begin, end) of a mask, which depend on the same three rows of cells; their bits are 0 at first. If three by
// three cells are on the same side of the threshold, so are the pixels. Returns the pixels that are set.
template <int taps>
static int64_t draw_rows(const Image& image, int64_t begin, int64_t end, const resampling::Bounds<true>& bounds,
                         const Lines& lines, uint64_t* bits, int64_t words) {
  const Axis& along = image.mask_columns;
  const float* cells[kTaps];
  int32_t low = along.cells;
  int32_t high = -1;
  for (int32_t tap = 0; tap < kTaps; ++tap) {
    const int64_t line = std::min(image.mask_rows.first[begin] + tap, image.mask_rows.cells - 1);  // the weight is 0
    cells[tap] = lines.cells_of(line);
    low = std::min(low, lines.low[line - lines.begin]);
    high = std::max(high, lines.high[line - lines.begin]);
  }
  if (high < low) {
    return 0;
  }
  const int64_t words_of_cells = along.cells / kWord + 2;
  std::fill(lines.above, lines.above + words_of_cells, 0);
  std::fill(lines.possible, lines.possible + words_of_cells, 0);
  for (int64_t cell = low / kWidth * kWidth; cell <= high; cell += kWidth) {
    const FloatVector a = load<float>(cells[0] + cell);
    const FloatVector b = load<float>(cells[1] + cell);
    const FloatVector c = load<float>(cells[2] + cell);
    const FloatVector least = at_most(at_most(a, b), c);
    const FloatVector most = at_least(at_least(a, b), c);
    lines.above[cell / kWord] |= uint64_t{bits_above(least, FloatVector{} + bounds.high)} << (cell % kWord);
    lines.possible[cell / kWord] |= uint64_t{bits_above(most, FloatVector{} + bounds.low)} << (cell % kWord);
  }
  for (int64_t word = 0; word + 1 < words_of_cells; ++word) {
    const uint64_t all = lines.above[word] & bits_at(lines.above, word * kWord + 1) &
                         bits_at(lines.above, word * kWord + 2);
    const uint64_t some = lines.possible[word] | bits_at(lines.possible, word * kWord + 1) |
                          bits_at(lines.possible, word * kWord + 2);
    lines.mixed[word] = some & ~all;
  }
  lines.mixed[words_of_cells - 1] = 0;

  const FloatVector bound = FloatVector{} + bounds.threshold;
  int64_t area = 0;
  for (int64_t cell = 0; cell < along.cells;) {
    const int64_t mixed = next_set(lines.mixed, cell, along.cells, 0);
    if (lines.above[cell / kWord] >> (cell % kWord) & 1 && cell < mixed) {
      for_words(along.begin[cell], along.begin[mixed], [&](int64_t word, uint64_t some) {
        area += (end - begin) * __builtin_popcountll(some);
        for (int64_t y = 0; y < end - begin; ++y) {
          bits[y * words + word] |= some;
        }
      });
    }
    if (mixed == along.cells) {
      break;
    }
    const uint64_t of_tile = bits_at(lines.mixed, mixed) & first_bits(kTile);
    cell = std::min<int64_t>(mixed + kWord - __builtin_clzll(of_tile), along.cells);
    for (int64_t pixel = along.begin[mixed]; pixel < along.begin[cell]; pixel += kMostVectors * kWidth) {
      const int64_t count = std::min<int64_t>(along.begin[cell] - pixel, kMostVectors * kWidth);
      const auto draw = count <= kWidth       ? draw_pixels<1, taps>
                        : count <= 2 * kWidth ? draw_pixels<2, taps>
                                              : draw_pixels<kMostVectors, taps>;
      area += draw(image, cells, begin, end, mixed, pixel, count, bound, bits, words);
    }
  }
  return area;
}

}  // namespace

void draw_mask(const Args& args, int64_t instance, const Lines& lines, Window& window) {
  const Image& image = args.images[args.image_indices[instance]];
  const Axis& rows = image.mask_rows;
  const Axis& columns = image.mask_columns;
  const resampling::Bounds<true> bounds(args.mask_threshold);
  with_element_type(args.mask_type, [&](auto element) {
    using T = decltype(element);
    if constexpr (!std::is_same_v<T, double> && !std::is_same_v<T, uint8_t>) {
      fill_rows(static_cast<const T*>(args.mask_logits) + instance * args.mask_height * args.mask_width,
                args.mask_width, bounds, lines);
    }
  });
  // The pixels that depend on a cell that may be above the threshold.
  int32_t top = rows.cells, bottom = -1, left = columns.cells, right = -1;
  for (int32_t line = static_cast<int32_t>(lines.begin); line < lines.end; ++line) {
    if (lines.high[line - lines.begin] >= 0) {
      top = std::min(top, line);
      bottom = line;
      left = std::min(left, lines.low[line - lines.begin]);
      right = std::max(right, lines.high[line - lines.begin]);
    }
  }
  window = {};
  if (bottom < 0) {
    return;
  }
  window.begin = rows.begin[std::max(top - kTaps + 1, 0)];
  window.end = rows.begin[bottom + 1];
  window.first_word = columns.begin[std::max(left - kTaps + 1, 0)] / kWord;
  window.end_word = (columns.begin[right + 1] + kWord - 1) / kWord;
  for (int64_t line = lines.begin; line < lines.end; ++line) {
    std::fill(lines.cells_of(line) + columns.cells, lines.cells_of(line) + columns.cells + kTaps - 1, 0.0f);  // not NaN
  }
  const auto draw = rows.taps == 2 && columns.taps == 2 ? draw_rows<2> : draw_rows<kTaps>;
  for (int64_t begin = window.begin; begin < window.end;) {
    const int64_t end = std::min<int64_t>(rows.begin[rows.first[begin] + 1], window.end);
    uint64_t* bits = bits_of(args, instance, begin);
    std::fill(bits, bits + (end - begin) * args.words, 0);
    window.area += draw(image, begin, end, bounds, lines, bits, args.words);
    begin = end;
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::panoptic_merge
