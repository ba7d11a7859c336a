#include "pack_masks_cpu.h"

#include "../common/simd_compare.h"

namespace condinst::pack_masks {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

// Bit i is set where bytes[i] is not 0.
uint64_t bits_not_zero(Vector<uint8_t> bytes) {
#if defined(__AVX512BW__)
  return _mm512_test_epi8_mask(bit_cast<__m512i>(bytes), bit_cast<__m512i>(bytes));
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_epi8(bit_cast<__m256i>(bytes != 0)));
#elif defined(__x86_64__)
  return static_cast<uint32_t>(_mm_movemask_epi8(bit_cast<__m128i>(bytes != 0)));
#else
  uint64_t bits = 0;
  for (int lane = 0; lane < kLanes<uint8_t>; ++lane) {
    bits |= uint64_t{bytes[lane] != 0} << lane;
  }
  return bits;
#endif
}

// The word of 64 pixels.
template <class T>
uint64_t word_of(const T* pixels, double threshold) {
  using Acc = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const Vector<Acc> bound = Vector<Acc>{} + static_cast<Acc>(threshold);
  uint64_t word = 0;
  for (int64_t first = 0; first < kWordBits; first += kLanes<Acc>) {
    word |= uint64_t{bits_above(load<Acc>(pixels + first), bound)} << first;
  }
  return word;
}

template <>
uint64_t word_of(const uint8_t* pixels, double) {
  uint64_t word = 0;
  for (int64_t first = 0; first < kWordBits; first += kLanes<uint8_t>) {
    word |= bits_not_zero(load_bits<Vector<uint8_t>>(pixels + first)) << first;
  }
  return word;
}

// The word of the last pixels of a mask, 0 < count < 64.
template <class T>
uint64_t last_word_of(const T* pixels, int64_t count, double threshold) {
  T padded[kWordBits] = {};
  std::memcpy(padded, pixels, static_cast<size_t>(count) * sizeof(T));
  return word_of(padded, threshold) & ((uint64_t{1} << count) - 1);  // the padding of 0 may be above the threshold
}

}  // namespace

void pack(const Args& args, int64_t begin, int64_t end) {
  with_element_type(args.type, [&](auto element) {
    using T = decltype(element);
    const int64_t whole = args.size / kWordBits;  // full words of a mask
    int64_t mask = args.mask_words == 0 ? 0 : begin / args.mask_words;
    int64_t word = begin - mask * args.mask_words;  // within the mask
    for (int64_t i = begin; i < end; ++i) {
      const T* pixels = static_cast<const T*>(args.masks) + mask * args.size + word * kWordBits;
      args.words[i] = word < whole ? word_of(pixels, args.threshold)
                                   : last_word_of(pixels, args.size - word * kWordBits, args.threshold);
      if (++word == args.mask_words) {
        ++mask;
        word = 0;
      }
    }
  });
}

}  // namespace CONDINST_ISA
}  // namespace condinst::pack_masks
