// The CPU kernels of mask_centers. They work on ranges of tasks, which the caller may run on any threads in any order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "mask_centers.h"

namespace condinst::mask_centers {

constexpr int64_t kCpuBandPixels = 65536;  // for Args::rows_per_band

CONDINST_FOR_EACH_ISA(
    // Tasks [begin, end) of task_count: fill partial.
    void partial_sums(const Args& args, int64_t begin, int64_t end);
    // Masks [begin, end): compute centers from partial.
    void finish(const Args& args, int64_t begin, int64_t end);)

}  // namespace condinst::mask_centers
