// Code that the CPU and the CUDA kernels of dice_loss share: arguments, and the division of masks into tasks. All functions
// are static: see simd.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../common/element_type.h"
#include "../common/host_device.h"

namespace condinst::dice_loss {

// All arrays are contiguous. "Acc" is double when masks or targets are float64 (`wide`), otherwise float.
struct Args {
  const void* masks;         // [count, size] of mask_type
  const void* targets;       // [count, size] of target_type
  ElementType mask_type;
  ElementType target_type;
  bool wide;
  int64_t count;             // number of masks
  int64_t size;              // elements per mask
  int64_t chunk;             // elements of a mask per task
  int64_t chunks;            // per mask; the last may be shorter
  double eps;
  double* partial;           // [count, chunks, 2] scratch: overlap and squares of one chunk
  void* losses;              // [count] Acc, out
  void* sums;                // [count, 2] Acc: overlap and total (eps included); out in forward, in in backward
  const void* grad_losses;   // [count] Acc, in
  void* grad_masks;          // [count, size] of mask_type, out
};

// Partial sums of fixed chunks are added in a fixed order, so neither threads nor multiprocessors change the result.
static inline int64_t task_count(const Args& args) { return args.count * args.chunks; }

// The elements of a task: `size` elements of a single mask, from `offset` on.
struct Chunk {
  int64_t mask, offset, size;
};

static inline CONDINST_HOST_DEVICE Chunk chunk_of(const Args& args, int64_t task) {
  const int64_t mask = task / args.chunks;
  const int64_t start = (task - mask * args.chunks) * args.chunk;  // not %: a GPU has no instruction for division
  const int64_t rest = args.size - start;
  return {mask, mask * args.size + start, rest < args.chunk ? rest : args.chunk};
}

// The accumulator of a pair of types: double if either of them is.
template <class Mask, class Target>
using AccOf = std::conditional_t<std::is_same_v<Mask, double> || std::is_same_v<Target, double>, double, float>;

// Calls f with a value of the mask type and one of the target type. Masks are never uint8.
template <class F>
static inline void with_types(const Args& args, const F& f) {
  with_element_type(args.mask_type, [&](auto mask) {
    if constexpr (!std::is_same_v<decltype(mask), uint8_t>) {
      with_element_type(args.target_type, [&](auto target) { f(mask, target); });
    }
  });
}

}  // namespace condinst::dice_loss
