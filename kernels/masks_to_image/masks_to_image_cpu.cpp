#include "masks_to_image_cpu.h"

#include "../resampling/lines_cpu.h"

namespace condinst::masks_to_image {
namespace CONDINST_ISA {
namespace {

using namespace resampling::CONDINST_ISA;

struct Bytes {
  uint8_t* row;

  void uniform(int64_t begin, int64_t end, bool value) {
    std::memset(row + begin, value, static_cast<size_t>(end - begin));
  }

  template <class Bits>
  void mixed(int64_t begin, int64_t end, const Bits& bits_of) {
    for (int64_t pixel = begin; pixel < end; pixel += kWidth) {
      const int64_t count = std::min<int64_t>(kWidth, end - pixel);
      const uint32_t bits = bits_of(pixel, count);
#if defined(__AVX512BW__)
      _mm_mask_storeu_epi8(row + pixel, static_cast<__mmask16>((1u << count) - 1),
                           _mm_maskz_set1_epi8(static_cast<__mmask16>(bits), 1));
#else
      for (int64_t i = 0; i < count; ++i) {
        row[pixel + i] = bits >> i & 1;
      }
#endif
    }
  }
};

}  // namespace

void resize(const resampling::Args& args, int64_t mask, int64_t begin, int64_t end, const resampling::Lines& lines,
            uint8_t* masks) {
  const resampling::Bounds<false> bounds(args.threshold);
  with_element_type(args.type, [&](auto element) {
    using T = decltype(element);
    if constexpr (!std::is_same_v<T, double> && !std::is_same_v<T, uint8_t>) {
      const int64_t width = args.columns.cells;
      fill_rows(static_cast<const T*>(args.logits) + mask * args.rows.cells * width, width, bounds, lines);
    }
  });
  for (int64_t row = begin; row < end; ++row) {
    Bytes bytes{masks + (mask * args.rows.pixels + row) * args.columns.pixels};
    give_line(args.rows, args.columns, row, bounds, lines, bytes);
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::masks_to_image
