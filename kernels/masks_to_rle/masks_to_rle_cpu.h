// The CPU kernel of masks_to_rle. It works on bands of columns of a mask, which the caller may run on any threads.
#pragma once

#include "../common/cpu_isa.h"
#include "../resampling/lines.h"

namespace condinst::masks_to_rle {

// Pixel columns [begin, end) of a mask, and the changes of pixels in them.
struct Band {
  int64_t mask;
  int64_t begin, end;      // advanced to the first unfinished column
  resampling::Lines lines;  // of first_column on
  bool inside;             // the value of the previous pixel, out
  int32_t* positions;      // [capacity] changes, out
  int64_t capacity;        // at least column_capacity
  int64_t count;           // of positions, out
};

// A band also needs the previous column, because its first pixel is compared with the last pixel of that column.
static inline int64_t first_column(int64_t begin) { return begin > 0 ? begin - 1 : 0; }

// The most positions of a column.
static inline int64_t column_capacity(const resampling::Args& args) { return args.rows.pixels + 16; }

CONDINST_FOR_EACH_ISA(
    // Computes the cells of a band, and the value of the pixel before it.
    void start(const resampling::Args& args, Band& band);
    // Writes the changes of the next columns, until the band ends or fewer than column_capacity positions are left.
    void find_changes(const resampling::Args& args, Band& band);)

}  // namespace condinst::masks_to_rle
