// The inverse of encoder.h: decodes COCO's run-length encoding to the runs of a mask. Plain C++, for the host.
#pragma once

#include <algorithm>
#include <cstdint>

namespace condinst::masks_to_rle {

constexpr int kMostShift = 35;  // of five bits per number: enough for the difference of two numbers below 2^31

// Calls visit(begin, end) for each run of foreground, in ascending order and within 0 .. pixels. Positions run down the
// columns. The text is not trusted: the function returns a description of the error in it, or nullptr.
template <class Visit>
static inline const char* decode(const char* text, int64_t length, int64_t pixels, Visit&& visit) {
  const char* const text_end = text + length;
  int64_t begin = 0;
  int64_t same = 0, other = 0;  // lengths of the last runs of this value and of the other value
  for (int64_t count = 0; text != text_end; ++count) {
    int64_t number = 0;
    int shift = 0;
    for (bool more = true; more; shift += 5) {
      if (text == text_end) {
        return "the last number is cut off";
      }
      const int five = *text++ - '0';
      if (static_cast<unsigned>(five) >= 64) {
        return "a character outside '0' .. 'o'";
      }
      if (shift > kMostShift) {
        return "a number of too many characters";
      }
      number |= static_cast<int64_t>(five & 31) << shift;
      more = (five & 32) != 0;
      if (!more && (five & 16) != 0) {
        number -= int64_t{1} << (shift + 5);
      }
    }
    const int64_t run = count > 2 ? number + same : number;
    if (run < 0) {
      return "a run of negative length";
    }
    if (run > pixels - begin) {
      return "the runs are longer than the mask";
    }
    if (count % 2 == 1 && run > 0) {
      visit(begin, begin + run);
    }
    same = other;
    other = run;
    begin += run;
  }
  return begin == pixels ? nullptr : "the runs are shorter than the mask";
}

// Sums over the pixels of a mask.
struct Moments {
  int64_t area = 0, x = 0, y = 0;

  // A run of a mask of this height.
  void add(int64_t begin, int64_t end, int64_t height) {
    area += end - begin;
    const int64_t first = begin / height, last = (end - 1) / height;
    if (first == last) {
      add_column(first, begin - first * height, end - first * height);
      return;
    }
    add_column(first, begin - first * height, height);
    const int64_t columns = last - first - 1;  // whole columns
    x += (first + last) * columns / 2 * height;
    y += height * (height - 1) / 2 * columns;
    add_column(last, 0, end - last * height);
  }

 private:
  void add_column(int64_t column, int64_t top, int64_t bottom) {
    x += column * (bottom - top);
    y += (top + bottom - 1) * (bottom - top) / 2;
  }
};

// Counts how many of the chosen rows are above a row.
struct RowTable {
  const int64_t* rows;   // [count], ascending from 0 on
  int64_t count;
  const int64_t* first;  // [height + 1]: the number of chosen rows above each row; null for masks higher than kMostInTable

  int64_t above(int64_t y) const { return first != nullptr ? first[y] : std::lower_bound(rows, rows + count, y) - rows; }
};

constexpr int64_t kMostInTable = int64_t{1} << 16;  // the height comes from a file, so the table is bounded

static inline void fill_table(const int64_t* rows, int64_t count, int64_t* first, int64_t size) {
  int64_t row = 0;
  for (int64_t y = 0; y < size; ++y) {
    while (row < count && rows[row] < y) {
      ++row;
    }
    first[y] = row;
  }
}

// Samples the pixels of a mask where chosen rows and columns cross.
class Sampler {
 public:
  // columns[0 .. num_columns) are ascending and within the mask. Writes to [rows, row_size], which must be zeros at first.
  Sampler(const int64_t* columns, int64_t num_columns, const RowTable& rows, int64_t height, int64_t row_size, bool* to)
      : columns_(columns), columns_end_(columns + num_columns), rows_(rows), height_(height), row_size_(row_size),
        to_(to) {}

  // The next run.
  void add(int64_t begin, int64_t end) {
    while (columns_ != columns_end_ && (*columns_ + 1) * height_ <= begin) {
      ++columns_;
      ++to_;
    }
    bool* to = to_;
    for (const int64_t* column = columns_; column != columns_end_ && *column * height_ < end; ++column, ++to) {
      const int64_t top = *column * height_;
      const int64_t first = rows_.above(begin > top ? begin - top : 0);
      const int64_t last = rows_.above(end - top < height_ ? end - top : height_);
      for (int64_t row = first; row < last; ++row) {
        to[row * row_size_] = true;
      }
    }
  }

 private:
  const int64_t* columns_;  // the first column that the next runs can reach
  const int64_t* columns_end_;
  RowTable rows_;
  int64_t height_, row_size_;
  bool* to_;
};

}  // namespace condinst::masks_to_rle
