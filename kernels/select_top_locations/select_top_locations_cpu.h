// The CPU kernel of select_top_locations. It works on ranges of images, which the caller may run on any threads in any
// order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "select_top_locations.h"

namespace condinst::select_top_locations {

CONDINST_FOR_EACH_ISA(
    // Images [begin, end): fill counts, starts, keys and selected.
    void select(const Args& args, int64_t begin, int64_t end);)

}  // namespace condinst::select_top_locations
