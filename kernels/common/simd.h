// Vectors of float or double with the width of the instruction set that this file is compiled for, with the vector
// extensions of GCC and Clang, and conversion from and to the other element types.
//
// All functions are static: an inline function of the same name compiled for AVX-512 must never be the function that the
// linker keeps for an older CPU.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "element_type.h"

#ifndef CONDINST_ISA
#error "compile with CONDINST_ISA set to the name of the instruction set"
#endif

namespace condinst {
namespace CONDINST_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;  // SSE2, NEON
#endif

// Number of values of type T in a vector register.
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T, int lanes>
struct VectorOf {
  typedef T type __attribute__((vector_size(lanes * sizeof(T))));
};

template <class T>
using Vector = typename VectorOf<T, kLanes<T>>::type;

using FloatVector = Vector<float>;
using UIntVector = Vector<uint32_t>;
using IntVector = Vector<int32_t>;
using ShortVector = typename VectorOf<uint16_t, kLanes<float>>::type;
using ByteVector = typename VectorOf<uint8_t, kLanes<float>>::type;

template <class To, class From>
static inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// Integers to four bytes and back. __builtin_convertvector does the same; GCC 12 makes a scalar loop of it on x86.
static inline IntVector widen(ByteVector bytes) {
#if defined(__AVX512F__)
  return bit_cast<IntVector>(_mm512_cvtepu8_epi32(bit_cast<__m128i>(bytes)));
#elif defined(__AVX2__)
  return bit_cast<IntVector>(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bit_cast<long long>(bytes))));
#elif defined(__x86_64__)
  const __m128i zero = _mm_setzero_si128();
  const __m128i shorts = _mm_unpacklo_epi8(_mm_cvtsi32_si128(bit_cast<int>(bytes)), zero);
  return bit_cast<IntVector>(_mm_unpacklo_epi16(shorts, zero));
#else
  return __builtin_convertvector(bytes, IntVector);
#endif
}

static inline UIntVector widen(ShortVector shorts) {
#if defined(__AVX512F__)
  return bit_cast<UIntVector>(_mm512_cvtepu16_epi32(bit_cast<__m256i>(shorts)));
#elif defined(__AVX2__)
  return bit_cast<UIntVector>(_mm256_cvtepu16_epi32(bit_cast<__m128i>(shorts)));
#elif defined(__x86_64__)
  const __m128i low = _mm_cvtsi64_si128(bit_cast<long long>(shorts));
  return bit_cast<UIntVector>(_mm_unpacklo_epi16(low, _mm_setzero_si128()));
#else
  return __builtin_convertvector(shorts, UIntVector);
#endif
}

// The low halves.
static inline ShortVector narrow(UIntVector ints) {
#if defined(__AVX512F__)
  return bit_cast<ShortVector>(_mm512_cvtepi32_epi16(bit_cast<__m512i>(ints)));
#elif defined(__AVX2__)
  const __m256i low = _mm256_and_si256(bit_cast<__m256i>(ints), _mm256_set1_epi32(0xffff));
  const __m256i packed = _mm256_packus_epi32(low, low);  // within each half of the register
  return bit_cast<ShortVector>(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0b1000)));
#elif defined(__x86_64__)
  // SSE2 packs only signed numbers, so the low half is made signed first.
  const __m128i low = _mm_srai_epi32(_mm_slli_epi32(bit_cast<__m128i>(ints), 16), 16);
  return bit_cast<ShortVector>(_mm_cvtsi128_si64(_mm_packs_epi32(low, low)));
#else
  return __builtin_convertvector(ints, ShortVector);
#endif
}

// The low bytes of numbers in 0..255.
static inline ByteVector narrow_to_bytes(IntVector ints) {
#if defined(__AVX512F__)
  return bit_cast<ByteVector>(_mm512_cvtepi32_epi8(bit_cast<__m512i>(ints)));
#elif defined(__AVX2__)
  const __m256i shorts = _mm256_packus_epi32(bit_cast<__m256i>(ints), bit_cast<__m256i>(ints));
  const __m256i bytes = _mm256_packus_epi16(shorts, shorts);  // within each half of the register
  const uint64_t low = static_cast<uint32_t>(_mm256_extract_epi32(bytes, 0));
  const uint64_t high = static_cast<uint32_t>(_mm256_extract_epi32(bytes, 4));
  return bit_cast<ByteVector>(low | high << 32);
#elif defined(__x86_64__)
  const __m128i shorts = _mm_packs_epi32(bit_cast<__m128i>(ints), bit_cast<__m128i>(ints));
  return bit_cast<ByteVector>(_mm_cvtsi128_si32(_mm_packus_epi16(shorts, shorts)));
#else
  return __builtin_convertvector(ints, ByteVector);
#endif
}

// yes where the lane of mask is all ones, no where it is 0
static inline UIntVector choose(UIntVector mask, UIntVector yes, UIntVector no) {
  return (mask & yes) | (~mask & no);
}

static inline FloatVector half_to_float(ShortVector bits) {
#if defined(__AVX512F__)
  return bit_cast<FloatVector>(_mm512_cvtph_ps(bit_cast<__m256i>(bits)));
#elif defined(__F16C__)
  return bit_cast<FloatVector>(_mm256_cvtph_ps(bit_cast<__m128i>(bits)));
#else
  const UIntVector wide = widen(bits);
  const UIntVector magnitude = wide & 0x7fff;
  // Shifted into the fields of a float, the exponent is 112 too small. The multiplication corrects it, also for subnormal
  // numbers.
  const FloatVector scaled = bit_cast<FloatVector>(UIntVector(magnitude << 13)) * 0x1p112f;
  const UIntVector infinite_or_nan = bit_cast<UIntVector>(magnitude >= 0x7c00) & 0x7f800000u;
  return bit_cast<FloatVector>(UIntVector(bit_cast<UIntVector>(scaled) | infinite_or_nan | ((wide & 0x8000) << 16)));
#endif
}

static inline ShortVector float_to_half(FloatVector values) {
#if defined(__AVX512F__)
  return bit_cast<ShortVector>(_mm512_cvtps_ph(bit_cast<__m512>(values), _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  return bit_cast<ShortVector>(_mm256_cvtps_ph(bit_cast<__m256>(values), _MM_FROUND_TO_NEAREST_INT));
#else
  const UIntVector bits = bit_cast<UIntVector>(values);
  const UIntVector magnitude = bits & 0x7fffffffu;
  // Rounds to nearest even: normal numbers by the carry, subnormal numbers by a float addition.
  const UIntVector normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  const FloatVector shifted = bit_cast<FloatVector>(magnitude) + 0.5f;
  const UIntVector subnormal = bit_cast<UIntVector>(shifted) - 0x3f000000u;
  const UIntVector nan = bit_cast<UIntVector>(magnitude > 0x7f800000u) & 0x0200u;
  UIntVector half = choose(bit_cast<UIntVector>(magnitude < 0x38800000u), subnormal, normal);
  half = choose(bit_cast<UIntVector>(magnitude >= 0x47800000u), 0x7c00u | nan, half);
  return narrow(half | ((bits >> 16) & 0x8000u));
#endif
}

static inline FloatVector bfloat16_to_float(ShortVector bits) {
  return bit_cast<FloatVector>(UIntVector(widen(bits) << 16));
}

static inline ShortVector float_to_bfloat16(FloatVector values) {
  const UIntVector bits = bit_cast<UIntVector>(values);
  const UIntVector rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest even
  const UIntVector is_nan = bit_cast<UIntVector>((bits & 0x7fffffffu) > 0x7f800000u);
  return narrow(choose(is_nan, (bits >> 16) | 0x40u, rounded));
}

template <class V, class T>
static inline V load_bits(const T* from) {
  V bits;
  std::memcpy(&bits, from, sizeof(bits));
  return bits;
}

// kLanes<Acc> values from memory, as Acc (float or double).
template <class Acc, class T>
static inline Vector<Acc> load(const T* from) {
  if constexpr (std::is_same_v<T, Acc>) {
    return load_bits<Vector<Acc>>(from);
  } else if constexpr (std::is_same_v<Acc, double>) {
    // Half a register of floats, widened. Types other than float are loaded through a full register.
    using Floats = typename VectorOf<float, kLanes<double>>::type;
    if constexpr (std::is_same_v<T, float>) {
      return __builtin_convertvector(load_bits<Floats>(from), Vector<double>);
    } else {
      T padded[kLanes<float>] = {};
      std::memcpy(padded, from, kLanes<double> * sizeof(T));
      const FloatVector floats = load<float>(padded);
      return __builtin_convertvector(load_bits<Floats>(&floats), Vector<double>);
    }
  } else if constexpr (std::is_same_v<T, uint8_t>) {
    return __builtin_convertvector(widen(load_bits<ByteVector>(from)), FloatVector);
  } else if constexpr (std::is_same_v<T, Half>) {
    return half_to_float(load_bits<ShortVector>(from));
  } else {
    static_assert(std::is_same_v<T, BFloat16>, "loads to float: float, uint8, Half, BFloat16");
    return bfloat16_to_float(load_bits<ShortVector>(from));
  }
}

// Rounds kLanes<Acc> values to T and writes them.
template <class T, class Acc>
static inline void store(T* to, Vector<Acc> values) {
  if constexpr (std::is_same_v<T, Acc>) {
    std::memcpy(to, &values, sizeof(values));
  } else if constexpr (std::is_same_v<Acc, double>) {
    using Floats = typename VectorOf<float, kLanes<double>>::type;
    const Floats floats = __builtin_convertvector(values, Floats);
    if constexpr (std::is_same_v<T, float>) {
      std::memcpy(to, &floats, sizeof(floats));
    } else {
      FloatVector wide = {};
      std::memcpy(&wide, &floats, sizeof(floats));
      T rounded[kLanes<float>];
      store<T, float>(rounded, wide);
      std::memcpy(to, rounded, kLanes<double> * sizeof(T));
    }
  } else if constexpr (std::is_same_v<T, Half>) {
    const ShortVector bits = float_to_half(values);
    std::memcpy(to, &bits, sizeof(bits));
  } else {
    static_assert(std::is_same_v<T, BFloat16>, "stores from float: float, Half, BFloat16");
    const ShortVector bits = float_to_bfloat16(values);
    std::memcpy(to, &bits, sizeof(bits));
  }
}

// The first `count` < kLanes<Acc> values; the other lanes are 0.
template <class Acc, class T>
static inline Vector<Acc> load_first(const T* from, int64_t count) {
  T padded[kLanes<Acc>] = {};
  std::memcpy(padded, from, static_cast<size_t>(count) * sizeof(T));
  return load<Acc>(padded);
}

// Writes the first `count` < kLanes<Acc> values.
template <class T, class Acc>
static inline void store_first(T* to, Vector<Acc> values, int64_t count) {
  T padded[kLanes<Acc>];
  store<T, Acc>(padded, values);
  std::memcpy(to, padded, static_cast<size_t>(count) * sizeof(T));
}

// The sum of the lanes, in double and in order.
template <class Acc>
static inline double sum_of_lanes(Vector<Acc> values) {
  double sum = 0;
  for (int lane = 0; lane < kLanes<Acc>; ++lane) {
    sum += static_cast<double>(values[lane]);
  }
  return sum;
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst
