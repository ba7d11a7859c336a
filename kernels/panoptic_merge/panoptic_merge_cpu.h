// The CPU kernels of panoptic_merge, in the order of the calls. Each works on a task that the caller may give to any
// thread; what comes out does not depend on the tasks.
#pragma once

#include "../common/cpu_isa.h"
#include "../resampling/lines.h"
#include "panoptic_merge.h"

namespace condinst::panoptic_merge {

// Where an instance has pixels.
struct Window {
  int32_t begin, end;            // rows; the bits of others are not written
  int32_t first_word, end_word;  // of a row, outside of which all bits are 0
  int64_t area;                  // of the mask; once settled, of what is left of it, 0 where it is dropped
};

// The candidates of one image, by falling score.
struct Ranking {
  const int64_t* instances;
  int64_t count;
};

constexpr int64_t kRing = kTaps;  // rows of cells that are kept

// Neighbouring cells from which on a pixel has the same class, or is unsure.
struct Run {
  int32_t begin, end;
  int32_t channel;
};

// What a thread keeps of three rows of semantic cells, in memory of the caller that is 0 at first.
struct CellRows {
  int64_t pitch;      // between rows
  float* logits;      // [kRing, num_channels, pitch] row y is at y % kRing; 0 after the last cell
  int32_t* channels;  // [kRing, pitch] that leads, or kUnsure
  int32_t* common;    // [pitch] that leads in three rows, or kUnsure
  Run* runs;          // [cells]
};

// Numbers of four bytes.
static inline int64_t cell_rows_size(const Args& args) {
  const int64_t pitch = resampling::pitch_of(args.semantic_width);
  return (kRing * args.num_channels + kRing + 1) * pitch + 3 * args.semantic_width;
}

static inline CellRows cell_rows_in(float* scratch, const Args& args) {
  CellRows rows{};
  rows.pitch = resampling::pitch_of(args.semantic_width);
  rows.logits = scratch;
  rows.channels = reinterpret_cast<int32_t*>(rows.logits + kRing * args.num_channels * rows.pitch);
  rows.common = rows.channels + kRing * rows.pitch;
  rows.runs = reinterpret_cast<Run*>(rows.common + rows.pitch);
  return rows;
}

// Rows [begin, end) of an image. The last band also has the rows below the image.
struct Band {
  int64_t image, begin, end;
  int64_t* areas;  // [num_channels - num_things] pixels of stuff, which are added to; 0 at first
};

CONDINST_FOR_EACH_ISA(
    // Fills the bits and the window of a candidate; `lines` are all of its mask.
    void draw_mask(const Args& args, int64_t instance, const resampling::Lines& lines, Window& window);

    // Gives the pixels of one image to its instances, in order: their windows, bits and areas, and `taken`, which is 0
    // at first.
    void settle_image(const Args& args, int64_t image, const Ranking& ranking, Window* windows);

    // Fills ids.
    void paint_band(const Args& args, const Band& band, const Ranking& ranking, const Window* windows,
                    const CellRows& cells);

    // Stuff s where is_small[s] is not 0 becomes void.
    void erase_stuff(const Args& args, const Band& band, const uint8_t* is_small);)

}  // namespace condinst::panoptic_merge
