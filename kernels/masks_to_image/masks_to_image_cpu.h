// The CPU kernel of masks_to_image. It works on bands of rows of a mask, which the caller may run on any threads.
#pragma once

#include "../common/cpu_isa.h"
#include "../resampling/lines.h"

namespace condinst::masks_to_image {

CONDINST_FOR_EACH_ISA(
    // Pixel rows [begin, end) of a mask; `lines` are the lines of the band. Fills masks [count, rows.pixels,
    // columns.pixels] with 0 and 1.
    void resize(const resampling::Args& args, int64_t mask, int64_t begin, int64_t end,
                const resampling::Lines& lines, uint8_t* masks);)

}  // namespace condinst::masks_to_image
