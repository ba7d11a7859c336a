// The CPU kernels of panoptic_merge, in the order of the calls. Each works on a task that the caller may run on any thread;
// the results do not depend on the tasks.
#pragma once

#include "../common/cpu_isa.h"
#include "../resampling/lines.h"
#include "panoptic_merge.h"

namespace condinst::panoptic_merge {

// The window that contains the pixels of an instance.
struct Window {
  int32_t begin, end;            // rows; the bits of others are not written
  int32_t first_word, end_word;  // of a row, outside of which all bits are 0
  int64_t area;                  // of the mask; after suppression, of its remaining pixels, 0 if it is dropped
};

// The candidates of one image, by falling score.
struct Ranking {
  const int64_t* instances;
  int64_t count;
};

constexpr int64_t kRing = kTaps;  // rows of cells in memory

// Adjacent first cells whose pixels have the same class, or are unsure.
struct Run {
  int32_t begin, end;
  int32_t channel;
};

// The data of three rows of semantic cells per thread, in memory of the caller that is 0 at first.
struct CellRows {
  int64_t pitch;      // between rows
  float* logits;      // [kRing, num_channels, pitch] row y is at y % kRing; 0 after the last cell
  int32_t* channels;  // [kRing, pitch] the leading class, or kUnsure
  int32_t* common;    // [pitch] the class that leads in three rows, or kUnsure
  Run* runs;          // [cells]
};

// The size in numbers of four bytes.
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
    // Fills the bits and the window of a candidate; `lines` are all lines of its mask.
    void draw_mask(const Args& args, int64_t instance, const resampling::Lines& lines, Window& window);

    // Assigns the pixels of an image to its instances, in order: updates windows, bits, areas, and `taken`, which is 0 at
    // first.
    void settle_image(const Args& args, int64_t image, const Ranking& ranking, Window* windows);

    // Fills ids.
    void paint_band(const Args& args, const Band& band, const Ranking& ranking, const Window* windows,
                    const CellRows& cells);

    // Stuff s where is_small[s] is not 0 becomes void.
    void erase_stuff(const Args& args, const Band& band, const uint8_t* is_small);)

}  // namespace condinst::panoptic_merge
