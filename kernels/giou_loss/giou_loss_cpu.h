// The CPU kernel of giou_loss. It works on ranges of tasks, which the caller may run on any threads in any order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "giou_loss.h"

namespace condinst::giou_loss {

// LossResults::chunk. A smaller chunk would take less time than waking a thread.
constexpr int64_t kCpuChunk = 4096;

CONDINST_FOR_EACH_ISA(
    // Tasks [begin, end) of task_count: fill the results that are not null, except the sum.
    void losses(const Args& args, int64_t begin, int64_t end);)

}  // namespace condinst::giou_loss
