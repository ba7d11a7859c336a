// Encodes a mask in COCO's run-length encoding, from the positions where it changes. Plain C++, for the host.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace condinst::masks_to_rle {

struct Encoded {
  std::string counts;
  int64_t area;
  float box[4];  // x1, y1, x2, y2; 0 for an empty mask
};

// Writes COCO's code of a signed number: 5 bits per character from '0' on, the lowest bits first; the sixth bit says that
// more characters follow. Returns the position after the last character.
static inline char* write_number(int64_t number, char* to) {
  if (number >= -512 && number < 512) {  // most numbers have one or two characters, written without an unpredictable branch
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

constexpr int64_t kMostCharacters = 7;  // for the difference of two numbers below 2^31

// One mask of height x width, column by column, which begins with background.
class Encoder {
 public:
  // The scratch memory belongs to the caller, who reuses it for all masks.
  Encoder(int64_t height, int64_t width, std::vector<char>& scratch) : height_(height), width_(width), text_(scratch) {
    runs_.left = width;
    runs_.top = height;
  }

  // The next positions where the value changes, ascending.
  void add(const int32_t* positions, int64_t count) {
    const size_t most = static_cast<size_t>(length_ + count * kMostCharacters);
    if (text_.size() < most) {
      text_.resize(2 * most);
    }
    Runs runs = runs_;  // a local copy, because the compiler must assume that the written characters can alias this object
    char* end = text_.data() + length_;
    for (int64_t i = 0; i < count; ++i) {
      end = add_run(runs, positions[i], end);
    }
    length_ = end - text_.data();
    runs_ = runs;
  }

  Encoded finish() {
    const int32_t pixels = static_cast<int32_t>(height_ * width_);
    add(&pixels, 1);
    Encoded encoded{};
    encoded.counts.assign(text_.data(), static_cast<size_t>(length_));
    encoded.area = runs_.area;
    if (runs_.area > 0) {
      const int64_t box[4] = {runs_.left, runs_.top, runs_.right, runs_.bottom};
      std::copy(box, box + 4, encoded.box);
    }
    return encoded;
  }

 private:
  struct Runs {
    int64_t count = 0;
    int64_t before = 0;           // where the run begins
    int64_t same = 0, other = 0;  // lengths of the last runs of this value, and of the other
    int64_t x = 0, x_begin = 0;   // the position of the first pixel of the run's column
    int64_t area = 0;
    int64_t left = 0, top = 0, right = 0, bottom = 0;
  };

  char* add_run(Runs& runs, int64_t after, char* to) const {
    const int64_t before = runs.before;
    const int64_t length = after - before;
    // From the fourth run on, a run is written as the difference to the last run of its value.
    to = write_number(runs.count > 2 ? length - runs.same : length, to);
    runs.same = runs.other;
    runs.other = length;
    if (runs.count % 2 == 1) {
      runs.area += length;
      if (before - runs.x_begin >= height_) {
        runs.x = before / height_;
        runs.x_begin = runs.x * height_;
      }
      runs.left = std::min(runs.left, runs.x);
      if (after - runs.x_begin <= height_) {
        runs.top = std::min(runs.top, before - runs.x_begin);
        runs.bottom = std::max(runs.bottom, after - runs.x_begin);
      } else {  // continues in the next column
        runs.top = 0;
        runs.bottom = height_;
        runs.x = (after - 1) / height_;
        runs.x_begin = runs.x * height_;
      }
      runs.right = runs.x + 1;
    }
    runs.before = after;
    ++runs.count;
    return to;
  }

  int64_t height_, width_;
  std::vector<char>& text_;
  int64_t length_ = 0;
  Runs runs_;
};

}  // namespace condinst::masks_to_rle
