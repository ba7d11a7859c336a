// Population counts of packed masks in vectors.
#pragma once

#include "../common/simd.h"
#include "mask_pairs.h"

namespace condinst::mask_pairs {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

using Words = Vector<uint64_t>;

static_assert(kBlockWords % kLanes<uint64_t> == 0, "blocks are whole vectors");

// The number of bits of each byte.
static inline Words count_bytes(Words bits) {
#if defined(__AVX512BW__)
  const __m512i counts = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m512i nibble = _mm512_set1_epi8(0x0f), all = bit_cast<__m512i>(bits);
  const __m512i low = _mm512_shuffle_epi8(counts, _mm512_and_si512(all, nibble));
  const __m512i high = _mm512_shuffle_epi8(counts, _mm512_and_si512(_mm512_srli_epi16(all, 4), nibble));
  return bit_cast<Words>(_mm512_add_epi8(low, high));
#elif defined(__AVX2__)
  const __m256i counts = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i nibble = _mm256_set1_epi8(0x0f), all = bit_cast<__m256i>(bits);
  const __m256i low = _mm256_shuffle_epi8(counts, _mm256_and_si256(all, nibble));
  const __m256i high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(all, 4), nibble));
  return bit_cast<Words>(_mm256_add_epi8(low, high));
#else
  const uint64_t pairs = 0x5555555555555555, nibbles = 0x3333333333333333, bytes = 0x0f0f0f0f0f0f0f0f;
  bits -= (bits >> 1) & pairs;
  bits = (bits & nibbles) + ((bits >> 2) & nibbles);
  return (bits + (bits >> 4)) & bytes;
#endif
}

// The sum of the bytes of each word.
static inline Words sum_bytes(Words bytes) {
#if defined(__AVX512BW__)
  return bit_cast<Words>(_mm512_sad_epu8(bit_cast<__m512i>(bytes), _mm512_setzero_si512()));
#elif defined(__AVX2__)
  return bit_cast<Words>(_mm256_sad_epu8(bit_cast<__m256i>(bytes), _mm256_setzero_si256()));
#elif defined(__x86_64__)
  return bit_cast<Words>(_mm_sad_epu8(bit_cast<__m128i>(bytes), _mm_setzero_si128()));
#else
  const uint64_t even = 0x00ff00ff00ff00ff;
  bytes = (bytes & even) + ((bytes >> 8) & even);
  bytes += bytes >> 16;
  return (bytes + (bytes >> 32)) & 0xffff;
#endif
}

// The number of bits of word(i) over the range, where load(i) is the vector that begins with word(i).
template <class Load, class Word>
static inline int64_t count_bits(Range range, const Load& load, const Word& word) {
  constexpr int64_t lanes = kLanes<uint64_t>;
  constexpr int64_t most = 31;  // the most vectors whose counts, at most 8 each, fit into a byte
  Words total = {};
  int64_t i = range.begin;
  while (i + lanes <= range.end) {
    const int64_t vectors = (range.end - i) / lanes;
    const int64_t stop = i + (vectors < most ? vectors : most) * lanes;
    Words bytes = {};
    for (; i < stop; i += lanes) {
      bytes += count_bytes(load(i));  // no byte overflows
    }
    total += sum_bytes(bytes);
  }
  int64_t count = 0;
  for (int lane = 0; lane < lanes; ++lane) {
    count += static_cast<int64_t>(total[lane]);
  }
  for (; i < range.end; ++i) {
    count += __builtin_popcountll(word(i));
  }
  return count;
}

// The number of pixels that both masks have.
static inline int64_t intersection(const Masks& masks, int64_t one, int64_t other) {
  const uint64_t *a = bits_of(masks, one), *b = bits_of(masks, other);
  return count_bits(
      common(masks.summaries[one], masks.summaries[other]),
      [&](int64_t i) { return load_bits<Words>(a + i) & load_bits<Words>(b + i); },
      [&](int64_t i) { return a[i] & b[i]; });
}

// Fills the summaries of masks [begin, end).
static inline void summarize_masks(const Masks& masks, int64_t begin, int64_t end) {
  for (int64_t mask = begin; mask < end; ++mask) {
    const uint64_t* bits = bits_of(masks, mask);
    int64_t first = 0, last = masks.words - 1;
    while (first <= last && bits[first] == 0) {
      ++first;
    }
    while (last > first && bits[last] == 0) {
      --last;
    }
    const int64_t area = count_bits({first, last + 1}, [&](int64_t i) { return load_bits<Words>(bits + i); },
                                    [&](int64_t i) { return bits[i]; });
    masks.summaries[mask] = make_summary(area, first, last, masks.words);
  }
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst::mask_pairs
