// The element types that kernels read and write. Half precision is stored as bits; simd.h and the CUDA kernels convert it.
//
// with_element_type takes the place of PyTorch's AT_DISPATCH macros and of c10::Half. The library is built against the
// stable ABI, so that one build runs with every torch since 2.11, and the kernels include no header of PyTorch.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace condinst {

enum class ElementType { uint8, float16, bfloat16, float32, float64 };

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

// Calls f with a value of the C++ type, so that f can instantiate a template with it. With nvcc there are no kernels for
// float64, which only gradcheck needs; kernels that are built for the host have it.
template <class F>
static inline void with_element_type(ElementType type, const F& f) {
  switch (type) {
    case ElementType::uint8:
      return f(uint8_t{});
    case ElementType::float16:
      return f(Half{});
    case ElementType::bfloat16:
      return f(BFloat16{});
    case ElementType::float32:
      return f(float{});
    case ElementType::float64:
#if defined(__CUDACC__)
      throw std::invalid_argument("the CUDA kernels have no float64");
#else
      return f(double{});
#endif
  }
}

}  // namespace condinst
