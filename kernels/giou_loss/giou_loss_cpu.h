// The CPU kernel of giou_loss. It works on ranges of tasks, which the caller may give to any threads in any order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "giou_loss.h"

namespace condinst::giou_loss {

// LossResults::chunk. So many boxes take less time than it takes to wake a thread.
constexpr int64_t kCpuChunk = 4096;

CONDINST_FOR_EACH_ISA(
    // Tasks [begin, end) of task_count: fill what the results want, but for the sum.
    void losses(const Args& args, int64_t begin, int64_t end);)

}  // namespace condinst::giou_loss
