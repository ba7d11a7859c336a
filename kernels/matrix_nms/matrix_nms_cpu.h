// The CPU kernels of matrix_nms: summarize; then, for each pass, columns and factors.
#pragma once

#include "../common/cpu_isa.h"
#include "../suppression/suppression_cpu.h"
#include "matrix_nms.h"

namespace condinst::matrix_nms {

constexpr int64_t kTile = 16;           // columns that are compared with a candidate while it is in the cache
constexpr int64_t kPassColumns = 512;

static inline int64_t tile_count(const Pass& pass) { return (pass.end - pass.begin + kTile - 1) / kTile; }

CONDINST_FOR_EACH_ISA(
    // Masks [begin, end): fills the summaries.
    void summarize(const Args& args, int64_t begin, int64_t end);
    // Tiles [begin, end) of tile_count: fills ious and highest.
    void columns(const Args& args, const suppression::Sorted& sorted, const Pass& pass, int64_t begin, int64_t end);
    // Places [begin, end) of the pass: fills decayed.
    void factors(const Args& args, const suppression::Sorted& sorted, const Pass& pass, int64_t begin, int64_t end);)

}  // namespace condinst::matrix_nms
