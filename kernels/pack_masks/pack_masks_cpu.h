// The CPU kernel of pack_masks. It works on ranges of words, which the caller may run on any threads in any order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "pack_masks.h"

namespace condinst::pack_masks {

constexpr int64_t kCpuWords = 512;  // a thread takes at least so many words

CONDINST_FOR_EACH_ISA(
    // Words [begin, end) of word_count.
    void pack(const Args& args, int64_t begin, int64_t end);)

}  // namespace condinst::pack_masks
