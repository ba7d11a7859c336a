// What the CPU and the CUDA kernels of giou_loss share: their arguments. All functions are static: see simd.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../common/element_type.h"
#include "../common/loss.h"

namespace condinst::giou_loss {

// All arrays are contiguous. "Acc" is double when predicted or targets are float64 (`wide`), otherwise float.
struct Args {
  const void* predicted;      // [count, 4] of predicted_type: l, t, r, b
  ElementType predicted_type;
  bool wide;
  bool smooth;
  const void* targets;        // [count, 4] Acc
  const void* weights;        // [count] Acc, or null for 1
  LossResults results;        // one loss per box
};

// Calls f with a value of the type of `predicted` and one of Acc.
template <class F>
static inline void with_types(const Args& args, const F& f) {
  with_element_type(args.predicted_type, [&](auto predicted) {
    with_element_type(args.wide ? ElementType::float64 : ElementType::float32, [&](auto acc) {
      using T = decltype(predicted);
      using Acc = decltype(acc);
      constexpr bool fits = std::is_same_v<Acc, double> || (std::is_same_v<Acc, float> && !std::is_same_v<T, double>);
      if constexpr (fits && !std::is_same_v<T, uint8_t>) {
        f(predicted, acc);
      }
    });
  });
}

}  // namespace condinst::giou_loss
