// The CPU kernels of dice_loss. They work on ranges of tasks, which the caller may run on any threads in any order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "dice_loss.h"

namespace condinst::dice_loss {

constexpr int64_t kCpuChunk = 16384;  // Args::chunk

CONDINST_FOR_EACH_ISA(
    // Tasks [begin, end) of task_count: fill partial.
    void partial_sums(const Args& args, int64_t begin, int64_t end);
    // Masks [begin, end) of count: compute losses and sums from partial.
    void finish(const Args& args, int64_t begin, int64_t end);
    // Tasks [begin, end) of task_count: fill grad_masks.
    void backward(const Args& args, int64_t begin, int64_t end);)

}  // namespace condinst::dice_loss
