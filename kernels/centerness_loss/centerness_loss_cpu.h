// The CPU kernel of centerness_loss. It works on ranges of tasks, which the caller may run on any threads in any order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "centerness_loss.h"

namespace condinst::centerness_loss {

constexpr int64_t kCpuChunk = 4096;  // LossResults::chunk

CONDINST_FOR_EACH_ISA(
    // Tasks [begin, end) of task_count: fill the results that are not null, except the sum.
    void losses(const Args& args, int64_t begin, int64_t end);)

}  // namespace condinst::centerness_loss
