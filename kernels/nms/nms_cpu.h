// The CPU kernel of nms. It works on ranges of groups, which the caller may run on any threads in any order.
#pragma once

#include "../suppression/suppression_cpu.h"
#include "nms.h"

namespace condinst::nms {

// Scratch memory of suppress: 5 numbers per box, in blocks of up to `kMaxLanes` boxes; the last block of a group may not be
// full.
constexpr int64_t kMaxLanes = 16;
static inline int64_t scratch_floats(int64_t num_candidates, int64_t num_groups) {
  return 5 * (num_candidates + kMaxLanes * num_groups);
}

CONDINST_FOR_EACH_ISA(
    // Groups [begin, end): fill Sorted::kept.
    void suppress(const Args& args, const suppression::Sorted& sorted, float* scratch, int64_t begin, int64_t end);)

}  // namespace condinst::nms
