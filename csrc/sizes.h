// Arithmetic of untrusted sizes: no product and no sum may overflow. Includes neither torch nor Python.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace condinst {

// The largest side of a map or an image, and the largest stride; condinst/ops/common/checks.py has the same number. The
// kernels keep the cells and the pixels of an axis in int32_t, with room for a few more than exist. A position in pixels,
// which is a cell times a stride, fits into int64_t.
constexpr int64_t kMostSide = int64_t{1} << 30;
constexpr int64_t kMostPixels = (int64_t{1} << 31) - 1;  // pixels of a result: COCO's run lengths are numbers of 32 bits

// Whether int64_t holds the product of numbers of at least 0; if so, `product` is set to it.
inline bool multiply(std::initializer_list<int64_t> factors, int64_t* product) {
  *product = 1;
  bool fits = true;
  for (const int64_t factor : factors) {
    fits = fits && factor >= 0 && !__builtin_mul_overflow(*product, factor, product);
  }
  return fits;
}

// The product of sizes. Throws std::runtime_error with `name` if a size is negative or int64_t does not hold the product.
inline int64_t product(const char* name, std::initializer_list<int64_t> sizes) {
  int64_t result = 1;
  if (multiply(sizes, &result)) {
    return result;
  }
  std::string text = std::string(name) + ": expected sizes of at least 0 whose product is below 2^63, got";
  for (const int64_t size : sizes) {
    text += ' ' + std::to_string(size);
  }
  throw std::runtime_error(text);
}

// The sum of two sizes. Throws std::runtime_error with `name` if int64_t does not hold the sum.
inline int64_t sum(const char* name, int64_t one, int64_t other) {
  int64_t result = 0;
  if (__builtin_add_overflow(one, other, &result)) {
    throw std::runtime_error(std::string(name) + ": expected a sum below 2^63, got " + std::to_string(one) + " and " +
                             std::to_string(other));
  }
  return result;
}

// Whether a number is a side of a map that the kernels take, or a count that they store in the same type. It may be 0.
inline bool is_side(int64_t side) { return side >= 0 && side <= kMostSide; }

inline bool is_stride(int64_t stride) { return stride >= 1 && stride <= kMostSide; }

// Whether sides are those of an image that the kernels write, which has at most kMostPixels.
inline bool is_image_size(int64_t height, int64_t width) {
  return is_side(height) && is_side(width) && height > 0 && width > 0 && height * width <= kMostPixels;
}

}  // namespace condinst
