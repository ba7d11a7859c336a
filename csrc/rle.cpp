#include "rle.h"

#include <algorithm>

namespace condinst {
namespace {

// COCO's code of a number with a sign: 5 bits in a character from '0' on, the lowest first; the sixth says that more
// follow. Returns the character after the last.
char* write_number(int64_t number, char* to) {
  if (number >= -512 && number < 512) {  // most, without a branch that cannot be foreseen: one character or two
    const bool is_short = number >= -16 && number < 16;
    to[0] = static_cast<char>('0' + ((number & 31) | (is_short ? 0 : 32)));
    to[1] = static_cast<char>('0' + (number >> 5 & 31));
    return to + (is_short ? 1 : 2);
  }
  bool more = true;
  while (more) {
    int64_t five = number & 31;
    number >>= 5;
    more = (five & 16) != 0 ? number != -1 : number != 0;
    *to++ = static_cast<char>('0' + (more ? five | 32 : five));
  }
  return to;
}

constexpr int64_t kMostCharacters = 7;  // of the difference of two numbers below 2^31

}  // namespace

Encoded encode(const Changes& changes, int64_t mask, std::vector<char>& scratch) {
  const int32_t* positions = changes.positions + changes.offsets[mask];
  const int64_t count = changes.offsets[mask + 1] - changes.offsets[mask];
  const int64_t pixels = changes.height * changes.width;
  Encoded encoded{};
  scratch.resize(std::max(scratch.size(), static_cast<size_t>((count + 1) * kMostCharacters)));
  char* end = scratch.data();
  int64_t left = changes.width, top = changes.height, right = 0, bottom = 0;
  int64_t before = 0;            // where the run begins
  int64_t lengths[2] = {0, 0};   // of the last runs of background and of foreground
  int64_t x = 0, x_begin = 0;    // the column of the run, its first pixel
  for (int64_t run = 0; run <= count; ++run) {
    const int64_t after = run < count ? positions[run] : pixels;
    const int64_t length = after - before;
    // From the fourth on, a run is written as the difference to the last one of its value.
    end = write_number(run > 2 ? length - lengths[run % 2] : length, end);
    lengths[run % 2] = length;
    if (run % 2 == 1) {
      encoded.area += length;
      if (before - x_begin >= changes.height) {
        x = before / changes.height;
        x_begin = x * changes.height;
      }
      left = std::min(left, x);
      if (after - x_begin <= changes.height) {
        top = std::min(top, before - x_begin);
        bottom = std::max(bottom, after - x_begin);
      } else {  // goes on in the next column
        top = 0;
        bottom = changes.height;
        x = (after - 1) / changes.height;
        x_begin = x * changes.height;
      }
      right = x + 1;
    }
    before = after;
  }
  encoded.counts.assign(scratch.data(), end);
  if (encoded.area > 0) {
    const int64_t box[4] = {left, top, right, bottom};
    std::copy(box, box + 4, encoded.box);
  }
  return encoded;
}

}  // namespace condinst
