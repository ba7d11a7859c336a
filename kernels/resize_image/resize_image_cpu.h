// The CPU kernels of resize_image. They work on ranges of rows, which the caller may give to any threads in any order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "resize_image.h"

namespace condinst::resize_image {

constexpr int64_t kCpuRows = 32;  // a thread takes at least so many rows

CONDINST_FOR_EACH_ISA(
    // Fills the weights of places [begin, end) of an axis.
    void weights(const Axis& axis, int64_t begin, int64_t end);
    // Rows [begin, end) of pass.count.
    void along_x(const Pass& pass, int64_t begin, int64_t end);
    // Rows [begin, end) of pass.count * axis.to.
    void along_y(const Pass& pass, int64_t begin, int64_t end);)

}  // namespace condinst::resize_image
