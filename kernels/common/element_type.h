// The element types kernels read and write. Half precision is kept as its bits; simd.h and the CUDA kernels convert.
//
// with_element_type takes the place of PyTorch's AT_DISPATCH macros and of c10::Half. The library is built against the
// stable ABI, so that one build runs with every torch from 2.11 on, and the kernels include no header of PyTorch at all.
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

// Calls f with a value of the C++ type, so that a template can be picked by it. nvcc makes no kernels for float64, which
// gradcheck alone wants; built for the host, the same kernels have it.
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
