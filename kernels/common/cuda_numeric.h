// Conversion of element types and aligned access to several elements at once, in CUDA kernels.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda_launch.h"
#include "element_type.h"

namespace condinst {

// A value of any element type as Acc, float or double.
template <class Acc, class T>
static __device__ __forceinline__ Acc widen(T value) {
  if constexpr (std::is_same_v<T, Half>) {
    return __half2float(__ushort_as_half(value.bits));
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return __bfloat162float(__ushort_as_bfloat16(value.bits));
  } else {
    return static_cast<Acc>(value);
  }
}

// Rounded to nearest even.
template <class T, class Acc>
static __device__ __forceinline__ T narrow(Acc value) {
  if constexpr (std::is_same_v<T, Half>) {
    return {__half_as_ushort(__float2half_rn(static_cast<float>(value)))};
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return {__bfloat16_as_ushort(__float2bfloat16_rn(static_cast<float>(value)))};
  } else {
    return static_cast<T>(value);
  }
}

// `count` elements that are read or written in one access if they are aligned: `count * sizeof(T)` is 1, 2, 4, 8 or 16.
template <class T, int count>
struct alignas(count * sizeof(T)) Pack {
  T values[count];
};

// The number of elements of the widest of these types in 16 bytes.
template <class... Ts>
constexpr int kPackCount = 16 / static_cast<int>(std::max({sizeof(Ts)...}));

// Whether a Pack of `count` elements may be read at `from`.
template <int count, class T>
static __device__ __forceinline__ bool is_aligned(const T* from) {
  return reinterpret_cast<uintptr_t>(from) % sizeof(Pack<T, count>) == 0;
}

template <int count, class T>
static __device__ __forceinline__ Pack<T, count> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, count>*>(from);
}

template <int count, class T>
static __device__ __forceinline__ void store_pack(T* to, const Pack<T, count>& pack) {
  *reinterpret_cast<Pack<T, count>*>(to) = pack;
}

// All `count` elements, 16 bytes at a time, or fewer bytes at once. `from` (`to`) must have the same alignment.
template <int count, class T>
static __device__ __forceinline__ void load_all(const T* from, T* values) {
  constexpr int pack = count * sizeof(T) < 16 ? count : kPackCount<T>;
#pragma unroll
  for (int first = 0; first < count; first += pack) {
    const auto some = load_pack<pack>(from + first);
#pragma unroll
    for (int i = 0; i < pack; ++i) {
      values[first + i] = some.values[i];
    }
  }
}

template <int count, class T>
static __device__ __forceinline__ void store_all(T* to, const T* values) {
  constexpr int pack = count * sizeof(T) < 16 ? count : kPackCount<T>;
#pragma unroll
  for (int first = 0; first < count; first += pack) {
    Pack<T, pack> some;
#pragma unroll
    for (int i = 0; i < pack; ++i) {
      some.values[i] = values[first + i];
    }
    store_pack(to + first, some);
  }
}

// The first `available` elements, one by one; the others are 0. The alignment is arbitrary, and `available` may be 0 or
// negative.
template <int count, class T>
static __device__ __forceinline__ Pack<T, count> load_some(const T* from, int64_t available) {
  Pack<T, count> pack = {};
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if (i < available) {
      pack.values[i] = from[i];
    }
  }
  return pack;
}

template <int count, class T>
static __device__ __forceinline__ void store_some(T* to, const Pack<T, count>& pack, int64_t available) {
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if (i < available) {
      to[i] = pack.values[i];
    }
  }
}

}  // namespace condinst
