// The CUDA kernels of mask_nms, as functions that launch them on a stream (a cudaStream_t of the current device) and return
// at once: summarize, find_rivals, then settle_groups. They throw std::runtime_error if CUDA rejects a launch.
#pragma once

#include "../suppression/suppression_cuda.h"
#include "mask_nms.h"

namespace condinst::mask_nms::cuda {

// Scratch: bit p % 64 of rivals[q * words_of_row(count) + p / 64] is set if the candidates at places q < p of `keys` are in
// the same group and the first, if it is kept, removes the second. Words before q / 64 are not written.
using Rivals = uint64_t;

constexpr int64_t kTile = 64;

static inline CONDINST_HOST_DEVICE int64_t words_of_row(int64_t count) { return (count + kTile - 1) / kTile; }

void summarize(const Args& args, void* stream);

void find_rivals(const Args& args, const suppression::cuda::Sorted& sorted, Rivals* rivals, void* stream);

// Fills `removed`.
void settle_groups(const Args& args, const suppression::cuda::Sorted& sorted, const Rivals* rivals, void* stream);

}  // namespace condinst::mask_nms::cuda
