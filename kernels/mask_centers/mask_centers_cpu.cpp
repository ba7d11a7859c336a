#include "mask_centers_cpu.h"

#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace condinst::mask_centers {
namespace CONDINST_ISA {
namespace {

// sum(m) and sum(x * m) over one row.
struct RowSums {
  int64_t total, x;
};

RowSums sums_of_pixels(const uint8_t* row, int64_t begin, int64_t end) {
  RowSums sums = {};
  for (int64_t x = begin; x < end; ++x) {
    sums.total += row[x];
    sums.x += x * row[x];
  }
  return sums;
}

#if defined(__AVX2__)

#if defined(__AVX512BW__)
using Bytes = __m512i;
constexpr int64_t kBlock = 64;
static inline Bytes load_bytes(const uint8_t* from) { return _mm512_loadu_si512(from); }
static inline Bytes repeated(int value) { return _mm512_set1_epi32(value); }
static inline Bytes sums_of_8(Bytes bytes) { return _mm512_sad_epu8(bytes, _mm512_setzero_si512()); }
static inline Bytes products(Bytes longs, int64_t factor) { return _mm512_mul_epu32(longs, _mm512_set1_epi64(factor)); }
static inline Bytes add_longs(Bytes a, Bytes b) { return _mm512_add_epi64(a, b); }
static inline Bytes add_ints(Bytes a, Bytes b) { return _mm512_add_epi32(a, b); }
static inline Bytes sums_of_4_products(Bytes bytes, Bytes weights) {
  return _mm512_madd_epi16(_mm512_maddubs_epi16(bytes, weights), _mm512_set1_epi16(1));
}
#else
using Bytes = __m256i;
constexpr int64_t kBlock = 32;
static inline Bytes load_bytes(const uint8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
static inline Bytes repeated(int value) { return _mm256_set1_epi32(value); }
static inline Bytes sums_of_8(Bytes bytes) { return _mm256_sad_epu8(bytes, _mm256_setzero_si256()); }
static inline Bytes products(Bytes longs, int64_t factor) { return _mm256_mul_epu32(longs, _mm256_set1_epi64x(factor)); }
static inline Bytes add_longs(Bytes a, Bytes b) { return _mm256_add_epi64(a, b); }
static inline Bytes add_ints(Bytes a, Bytes b) { return _mm256_add_epi32(a, b); }
static inline Bytes sums_of_4_products(Bytes bytes, Bytes weights) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, weights), _mm256_set1_epi16(1));
}
#endif

template <class T>
int64_t sum_of(Bytes values) {
  T lanes[sizeof(values) / sizeof(T)];
  std::memcpy(lanes, &values, sizeof(values));
  int64_t sum = 0;
  for (const T lane : lanes) {
    sum += lane;
  }
  return sum;
}

// The column of a pixel is the column of its block plus its position in the block. The bytes of blocks are summed first,
// and the sums multiplied. Positions are at most 63, so that two products of bytes fit into 16 bits.
RowSums sums_of_row(const uint8_t* row, int64_t width) {
  // A lane of ints grows by at most 4 * 255 * 63 per block.
  constexpr int64_t kMostBlocks = INT32_MAX / (4 * 255 * 63);
  alignas(sizeof(Bytes)) uint8_t places[kBlock];
  for (int64_t i = 0; i < kBlock; ++i) {
    places[i] = static_cast<uint8_t>(i);
  }
  const Bytes weights = load_bytes(places);
  RowSums sums = {};
  int64_t x = 0;
  while (x + kBlock <= width) {
    const int64_t first = x;
    Bytes totals = repeated(0), blocks = repeated(0), within = repeated(0);
    for (int64_t block = 0; block < kMostBlocks && x + kBlock <= width; ++block, x += kBlock) {
      const Bytes bytes = load_bytes(row + x);
      const Bytes eights = sums_of_8(bytes);
      totals = add_longs(totals, eights);
      blocks = add_longs(blocks, products(eights, block));
      within = add_ints(within, sums_of_4_products(bytes, weights));
    }
    const int64_t total = sum_of<int64_t>(totals);
    sums.total += total;
    sums.x += first * total + kBlock * sum_of<int64_t>(blocks) + sum_of<int32_t>(within);
  }
  const RowSums rest = sums_of_pixels(row, x, width);
  return {sums.total + rest.total, sums.x + rest.x};
}

#else

RowSums sums_of_row(const uint8_t* row, int64_t width) { return sums_of_pixels(row, 0, width); }

#endif

}  // namespace

void partial_sums(const Args& args, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    const Band band = band_of(args, task);
    Sums sums = {};
    for (int64_t y = band.begin; y < band.end; ++y) {
      const RowSums row = sums_of_row(args.masks + (band.mask * args.height + y) * args.width, args.width);
      sums.x += row.x;
      sums.y += y * row.total;
      sums.total += row.total;
    }
    args.partial[task] = sums;
  }
}

void finish(const Args& args, int64_t begin, int64_t end) {
  for (int64_t mask = begin; mask < end; ++mask) {
    Sums sums = {};
    for (int64_t task = mask * args.bands; task < (mask + 1) * args.bands; ++task) {
      sums.x += args.partial[task].x;
      sums.y += args.partial[task].y;
      sums.total += args.partial[task].total;
    }
    args.centers[2 * mask] = center_of(sums.x, sums.total);
    args.centers[2 * mask + 1] = center_of(sums.y, sums.total);
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::mask_centers
