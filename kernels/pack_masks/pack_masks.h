// The arguments that the CPU and the CUDA kernels of pack_masks share. All functions are static: see simd.h.
#pragma once

#include <cstdint>

#include "../common/element_type.h"
#include "../common/host_device.h"

namespace condinst::pack_masks {

constexpr int64_t kWordBits = 64;

// All arrays are contiguous.
struct Args {
  const void* masks;     // [count, size] of type
  ElementType type;      // uint8: numbers other than 0 are set; floating: numbers above the threshold
  int64_t count;         // number of masks
  int64_t size;          // pixels of a mask
  int64_t mask_words;    // of a mask: words_of(size)
  double threshold;      // a number that `type` represents, or infinite
  uint64_t* words;       // [count, mask_words], out
};

static inline CONDINST_HOST_DEVICE int64_t words_of(int64_t size) { return (size + kWordBits - 1) / kWordBits; }

static inline int64_t word_count(const Args& args) { return args.count * args.mask_words; }

}  // namespace condinst::pack_masks
