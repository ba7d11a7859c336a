// The CPU kernels of decode_detections, in this order. They work on ranges of tasks, which the caller may run on any
// threads in any order.
#pragma once

#include "../common/cpu_isa.h"
#include "decode_detections.h"

namespace condinst::decode_detections {

constexpr int64_t kBandElements = 32768;  // the most elements of a band, unless a single cell has more

// Keys of the candidates that may be among the `top_k` best of their level.
struct Lists {
  uint64_t* keys;    // [num_images, bands, band_capacity]; after `select`, those of a level begin at its first band
  int64_t* counts;   // [num_images, bands]; the same
  int64_t band_capacity;
};

// The most keys that a band keeps: when there are 2 * `top_k` keys, half of them can be dropped.
static inline int64_t band_capacity(const Args& args) {
  const int64_t elements = args.band_cells * args.num_classes;
  return args.top_k < elements / 2 ? 2 * args.top_k : elements;
}

CONDINST_FOR_EACH_ISA(
    // Bands [begin, end) of num_images * bands: fill their lists.
    void collect(const Args& args, const Lists& lists, int64_t begin, int64_t end);
    // Levels [begin, end) of num_images * num_levels: one list of the best, by index.
    void select(const Args& args, const Lists& lists, int64_t begin, int64_t end);
    // Images [begin, end).
    void write(const Args& args, const Lists& lists, int64_t begin, int64_t end);)

}  // namespace condinst::decode_detections
