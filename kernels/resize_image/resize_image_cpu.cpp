#include "resize_image_cpu.h"

#include <algorithm>

#include "../common/simd.h"

namespace condinst::resize_image {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

constexpr int kWidth = kLanes<int32_t>;

// Writes the rounded sums as bytes.
static inline void store_rounded(uint8_t* to, IntVector sums) {
  const IntVector values = sums >> kWeightBits;
  const IntVector most = IntVector{} + 255;
  const ByteVector bytes = narrow_to_bytes(values > most ? most : values);
  std::memcpy(to, &bytes, sizeof(bytes));
}

// Four bytes from each place, as integers of 32 bits.
static inline IntVector gather_bytes(const uint8_t* from, const int32_t* places) {
#if defined(__AVX512F__)
  return bit_cast<IntVector>(_mm512_i32gather_epi32(bit_cast<__m512i>(load_bits<IntVector>(places)), from, 1));
#elif defined(__AVX2__)
  return bit_cast<IntVector>(
      _mm256_i32gather_epi32(reinterpret_cast<const int*>(from), bit_cast<__m256i>(load_bits<IntVector>(places)), 1));
#else
  IntVector words;
  for (int lane = 0; lane < kWidth; ++lane) {
    int32_t word;
    std::memcpy(&word, from + places[lane], sizeof(word));
    words[lane] = word;
  }
  return words;
#endif
}

// Pixels of a row whose neighbours can be loaded in whole blocks without a step beyond its end.
int64_t whole_blocks(const Axis& axis) {
  int64_t count = axis.to;
  while (count > 0 && axis.first[count - 1] + axis.taps > axis.from) {
    --count;
  }
  return count / kWidth * kWidth;
}

}  // namespace

void weights(const Axis& axis, int64_t begin, int64_t end) {
  for (int64_t place = begin; place < end; ++place) {
    fill_weights(axis, place);
  }
}

void along_x(const Pass& pass, int64_t begin, int64_t end) {
  const Axis axis = pass.axis;
  const int64_t whole = whole_blocks(axis);
  for (int64_t row = begin; row < end; ++row) {
    const uint8_t* from = pass.from + row * axis.from;
    uint8_t* to = pass.to + row * axis.to;
    for (int64_t x = 0; x < whole; x += kWidth) {
      IntVector sums = IntVector{} + kHalf;
      for (int64_t tap = 0; tap < axis.taps; tap += kTapBlock) {
        const IntVector words = gather_bytes(from + tap, axis.first + x);
        const int32_t* weight = axis.weights + tap * axis.to + x;
        sums += (words & 0xff) * load_bits<IntVector>(weight);
        sums += ((words >> 8) & 0xff) * load_bits<IntVector>(weight + axis.to);
        sums += ((words >> 16) & 0xff) * load_bits<IntVector>(weight + 2 * axis.to);
        sums += ((words >> 24) & 0xff) * load_bits<IntVector>(weight + 3 * axis.to);
      }
      store_rounded(to + x, sums);
    }
    for (int64_t x = whole; x < axis.to; ++x) {
      int32_t sum = kHalf;
      for (int64_t tap = 0; tap < axis.count[x]; ++tap) {
        sum += from[axis.first[x] + tap] * axis.weights[tap * axis.to + x];
      }
      to[x] = rounded(sum);
    }
  }
}

void along_y(const Pass& pass, int64_t begin, int64_t end) {
  const Axis axis = pass.axis;
  const int64_t width = pass.width;
  const int64_t whole = width / kWidth * kWidth;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t plane = row / axis.to;
    const int64_t y = row - plane * axis.to;
    const uint8_t* from = pass.from + (plane * axis.from + axis.first[y]) * width;
    const int64_t count = axis.count[y];
    uint8_t* to = pass.to + row * width;
    for (int64_t x = 0; x < whole; x += kWidth) {
      IntVector sums = IntVector{} + kHalf;
      for (int64_t tap = 0; tap < count; ++tap) {
        sums += widen(load_bits<ByteVector>(from + tap * width + x)) * axis.weights[tap * axis.to + y];
      }
      store_rounded(to + x, sums);
    }
    for (int64_t x = whole; x < width; ++x) {
      int32_t sum = kHalf;
      for (int64_t tap = 0; tap < count; ++tap) {
        sum += from[tap * width + x] * axis.weights[tap * axis.to + y];
      }
      to[x] = rounded(sum);
    }
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::resize_image
