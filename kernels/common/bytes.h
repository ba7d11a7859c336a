// memcpy and memset for arrays that may be empty: a tensor without elements has a null pointer, which the functions of the
// standard do not accept, even for 0 bytes. All functions are static: see simd.h.
#pragma once

#include <cstdint>
#include <cstring>

namespace condinst {

template <class T>
static inline void copy_values(T* to, const T* from, int64_t count) {
  if (count > 0) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
  }
}

// Sets every byte of `count` values.
template <class T>
static inline void fill_bytes(T* to, int byte, int64_t count) {
  if (count > 0) {
    std::memset(to, byte, static_cast<size_t>(count) * sizeof(T));
  }
}

}  // namespace condinst
