// Large results on the CPU in few pages.
#pragma once

#include <sys/mman.h>

#include <cstdint>

namespace condinst {

// Asks the system for huge pages for memory that is written for the first time: a page fault for every 4 KiB takes
// longer than to compute what goes there. Only whole huge pages within the memory, so that it holds no more than before.
inline void prefer_huge_pages(void* data, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t kHugePage = uintptr_t{1} << 21;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) / kHugePage * kHugePage;
  if (begin < end) {
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a system that refuses is only slower
  }
#else
  static_cast<void>(data);
  static_cast<void>(bytes);
#endif
}

}  // namespace condinst
