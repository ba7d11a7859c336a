#include "masks_to_rle_cpu.h"

#include "../resampling/lines_cpu.h"

namespace condinst::masks_to_rle {
namespace CONDINST_ISA {
namespace {

using namespace resampling::CONDINST_ISA;

// Writes the positions where the value changes.
struct Changes {
  int32_t* positions;
  int64_t count;
  int32_t column;  // position of its first pixel
  bool value;      // of the last pixel

  void uniform(int64_t begin, int64_t, bool next) {
    positions[count] = column + static_cast<int32_t>(begin);
    count += next != value;
    value = next;
  }

  template <class Bits>
  void mixed(int64_t begin, int64_t end, const Bits& bits_of) {
    int32_t* to = positions + count;
    uint32_t before = value;  // local copies, because the compiler must assume that positions can alias this object
    for (int64_t pixel = begin; pixel < end; pixel += kWidth) {
      const int64_t size = std::min<int64_t>(kWidth, end - pixel);
      const uint32_t bits = bits_of(pixel, size);
      uint32_t changes = (bits ^ (bits << 1 | before)) & ((1u << size) - 1);
      before = bits >> (size - 1) & 1;
      const int32_t first = column + static_cast<int32_t>(pixel);
#if defined(__AVX512F__)
      const __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      _mm512_storeu_si512(
          to, _mm512_maskz_compress_epi32(static_cast<__mmask16>(changes), places + _mm512_set1_epi32(first)));
      to += __builtin_popcount(changes);
#else
      for (; changes != 0; changes &= changes - 1) {
        *to++ = first + __builtin_ctz(changes);
      }
#endif
    }
    count = to - positions;
    value = before != 0;
  }
};

}  // namespace

void start(const resampling::Args& args, Band& band) {
  const resampling::Bounds<false> bounds(args.threshold);
  with_element_type(args.type, [&](auto element) {
    using T = decltype(element);
    if constexpr (!std::is_same_v<T, double> && !std::is_same_v<T, uint8_t>) {
      const int64_t height = args.rows.cells;
      const int64_t width = args.columns.cells;
      fill_columns(static_cast<const T*>(args.logits) + band.mask * height * width, height, width, bounds,
                   band.lines);
    }
  });
  Changes before{band.positions, 0, 0, false};
  if (band.begin > 0) {
    give_line(args.columns, args.rows, first_column(band.begin), bounds, band.lines, before);
  }
  band.inside = before.value;
}

void find_changes(const resampling::Args& args, Band& band) {
  const resampling::Bounds<false> bounds(args.threshold);
  Changes changes{band.positions, 0, 0, band.inside};
  for (; band.begin < band.end && band.capacity - changes.count >= column_capacity(args); ++band.begin) {
    changes.column = static_cast<int32_t>(band.begin * args.rows.pixels);
    give_line(args.columns, args.rows, band.begin, bounds, band.lines, changes);
  }
  band.count = changes.count;
  band.inside = changes.value;
}

}  // namespace CONDINST_ISA
}  // namespace condinst::masks_to_rle
