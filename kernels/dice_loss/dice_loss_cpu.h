// The CPU kernels of dice_loss. They work on ranges of tasks, which the caller may give to any threads in any order.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "../common/element_type.h"

namespace condinst::dice_loss {

// Elements of one mask that one task takes. Partial sums of fixed chunks are added in a fixed order, so the number of
// threads does not change the result.
constexpr int64_t kChunk = 16384;

// All arrays are contiguous. "Acc" is double when masks or targets are float64 (`wide`), otherwise float.
struct Args {
  const void* masks;         // [count, size] of mask_type
  const void* targets;       // [count, size] of target_type
  ElementType mask_type;
  ElementType target_type;
  bool wide;
  int64_t count;             // number of masks
  int64_t size;              // elements per mask
  double eps;
  double* partial;           // [count, chunks, 2] scratch: overlap and squares of one chunk
  void* losses;              // [count] Acc, out
  void* sums;                // [count, 2] Acc: overlap and total (eps included); out in forward, in in backward
  const void* grad_losses;   // [count] Acc, in
  void* grad_masks;          // [count, size] of mask_type, out
};

// Static: see simd.h.
static inline int64_t chunks_per_mask(const Args& args) { return (args.size + kChunk - 1) / kChunk; }

static inline int64_t task_count(const Args& args) { return args.count * chunks_per_mask(args); }

CONDINST_FOR_EACH_ISA(
    // Tasks [begin, end) of task_count: fill partial.
    void partial_sums(const Args& args, int64_t begin, int64_t end);
    // Masks [begin, end) of count: from partial to losses and sums.
    void finish(const Args& args, int64_t begin, int64_t end);
    // Tasks [begin, end) of task_count: fill grad_masks.
    void backward(const Args& args, int64_t begin, int64_t end);)

}  // namespace condinst::dice_loss
