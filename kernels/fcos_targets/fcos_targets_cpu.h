// The CPU kernel of fcos_targets. It works on ranges of tasks, which the caller may run on any threads in any order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "fcos_targets.h"

namespace condinst::fcos_targets {

constexpr int64_t kBandLocations = 4096;

// A task is a band of rows of one level of one image.
static inline int64_t rows_per_band(const Level& level) {
  return level.width < kBandLocations ? kBandLocations / (level.width > 0 ? level.width : 1) : 1;
}

static inline int64_t bands_of(const Level& level) {
  const int64_t rows = rows_per_band(level);
  return level.width == 0 ? 0 : (level.height + rows - 1) / rows;
}

static inline int64_t bands_per_image(const Args& args) {
  int64_t bands = 0;
  for (int level = 0; level < args.num_levels; ++level) {
    bands += bands_of(args.levels[level]);
  }
  return bands;
}

CONDINST_FOR_EACH_ISA(
    // Tasks [begin, end) of num_images * bands_per_image: fill their locations.
    void targets(const Args& args, int64_t begin, int64_t end);)

}  // namespace condinst::fcos_targets
