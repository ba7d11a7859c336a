#include "dynamic_mask_head_cpu.h"

#include "../mask_network/rows_cpu.h"

namespace condinst::dynamic_mask_head {
namespace CONDINST_ISA {
namespace {

using namespace condinst::mask_network;
using namespace condinst::mask_network::CONDINST_ISA;

// Writes one row of the upsampled map.
template <class Acc, class T, int factor, bool mixed>
void write_row(const Acc* low, const Acc* high, Acc weight, int64_t width, T* to) {
  constexpr int lanes = kLanes<Acc>;
  const auto write = [&](int64_t x, T* part) {
    Vector<Acc> columns[factor];
    upsampled_columns<Acc, factor, mixed>(low, high, weight, x, columns);
    interleave<Acc, factor>(columns);
#pragma GCC unroll 4
    for (int j = 0; j < factor; ++j) {
      store<T, Acc>(part + j * lanes, columns[j]);
    }
  };
  int64_t x = 0;
  for (; x + lanes <= width; x += lanes) {
    write(x, to + factor * x);
  }
  if (x < width && width >= lanes) {
    write(width - lanes, to + factor * (width - lanes));  // writes some cells twice, faster than a partial vector
  } else if (x < width) {
    T rest[factor * lanes];
    write(x, rest);
    std::memcpy(to + factor * x, rest, static_cast<size_t>(factor * (width - x)) * sizeof(T));
  }
}

template <class T>
void prefetch(const T* data, int64_t size) {
  constexpr int64_t line = 64 / sizeof(T);
  for (int64_t i = 0; i < size; i += line) {
    __builtin_prefetch(data + i, 1);
  }
}

template <class Acc, class T, int factor>
void forward_tasks(const ForwardArgs& args, int64_t begin, int64_t end, void* memory) {
  const Inputs& inputs = args.inputs;
  Arena arena(memory);
  const ForwardScratch<Acc> scratch(inputs, arena);
  const int64_t bands = forward_bands(inputs);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t index = task / bands, band = task % bands;
    const Instance<Acc> instance(inputs, index, scratch.x_row);
    const int64_t out_width = int64_t{factor} * inputs.width;
    T* map = static_cast<T*>(args.logits) + index * factor * inputs.height * out_width;
    for_upsampled_rows<Acc>(
        inputs, factor * band_start(band, bands, inputs.height), factor * band_start(band + 1, bands, inputs.height),
        scratch.logits,
        [&](int64_t y, Acc* row) {
          prefetch(map + factor * y * out_width, factor * out_width);  // prefetched while the logits are computed
          logits_of_row(inputs, instance, y, scratch.hidden, row);
        },
        [&](int64_t i, const Acc* low, const Acc* high, Acc weight) {
          T* to = map + i * out_width;
          weight > 0 ? write_row<Acc, T, factor, true>(low, high, weight, inputs.width, to)
                     : write_row<Acc, T, factor, false>(low, high, weight, inputs.width, to);
        });
  }
}

// Reads one row of the upsampled map's gradient, column factor * x + j to columns(j)[x].
template <class Acc, class T, int factor>
void read_columns(const T* row, int64_t width, const BackwardScratch<Acc>& scratch) {
  constexpr int lanes = kLanes<Acc>;
  const auto read = [&](int64_t x, const T* part) {
    Vector<Acc> columns[factor];
#pragma GCC unroll 4
    for (int j = 0; j < factor; ++j) {
      columns[j] = load<Acc>(part + j * lanes);
    }
    deinterleave<Acc, factor>(columns);
#pragma GCC unroll 4
    for (int j = 0; j < factor; ++j) {
      store<Acc, Acc>(scratch.columns(j) + x, columns[j]);
    }
  };
  int64_t x = 0;
  for (; x + lanes <= width; x += lanes) {
    read(x, row + factor * x);
  }
  if (x < width && width >= lanes) {
    read(width - lanes, row + factor * (width - lanes));
  } else if (x < width) {
    T rest[factor * lanes] = {};
    std::memcpy(rest, row + factor * x, static_cast<size_t>(factor * (width - x)) * sizeof(T));
    read(x, rest);
  }
}

template <class Acc, class T, int factor>
void backward_of_type(const BackwardArgs& args, int64_t begin, int64_t end, void* memory) {
  const Inputs& inputs = args.inputs;
  const int64_t out_height = int64_t{factor} * inputs.height, out_width = int64_t{factor} * inputs.width;
  backward_tasks<Acc, factor, false>(
      inputs, args.groups, begin, end, memory,
      [&](int64_t index, int64_t i, const Acc*, const Acc*, Acc, const BackwardScratch<Acc>& scratch) {
        const T* row = static_cast<const T*>(args.grad_logits) + (index * out_height + i) * out_width;
        read_columns<Acc, T, factor>(row, inputs.width, scratch);
      });
}

template <class T>
using AccOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Calls f with a value of the type of the logits; never uint8.
template <class F>
void with_logit_type(ElementType type, const F& f) {
  with_element_type(type, [&](auto value) {
    if constexpr (!std::is_same_v<decltype(value), uint8_t>) {
      f(value);
    }
  });
}

}  // namespace

void forward(const ForwardArgs& args, int64_t begin, int64_t end, void* scratch) {
  with_logit_type(args.type, [&](auto value) {
    using T = decltype(value);
    with_factor(args.inputs.factor, [&](auto factor) {
      forward_tasks<AccOf<T>, T, decltype(factor)::value>(args, begin, end, scratch);
    });
  });
}

void backward(const BackwardArgs& args, int64_t begin, int64_t end, void* scratch) {
  with_logit_type(args.type, [&](auto value) {
    using T = decltype(value);
    with_factor(args.inputs.factor, [&](auto factor) {
      backward_of_type<AccOf<T>, T, decltype(factor)::value>(args, begin, end, scratch);
    });
  });
}

}  // namespace CONDINST_ISA
}  // namespace condinst::dynamic_mask_head
