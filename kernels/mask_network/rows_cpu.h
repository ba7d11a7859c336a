// Rows of the mask head on the CPU, shared by dynamic_mask_head and dynamic_mask_loss: upsampling and its transpose, and
// the passes over the rows of a map. The format of rows is that of layers_cpu.h.
#pragma once

#include <algorithm>
#include <utility>

#include "layers_cpu.h"

namespace condinst::mask_network {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

// Upsampling

template <class V, size_t... lane>
static inline V interleaved(V even, V odd, size_t from, std::index_sequence<lane...>) {
  constexpr int n = sizeof...(lane);
  return from == 0 ? __builtin_shufflevector(even, odd, (lane % 2 == 0 ? lane / 2 : n + lane / 2)...)
                   : __builtin_shufflevector(even, odd, (n / 2 + (lane % 2 == 0 ? lane / 2 : n + lane / 2))...);
}

template <class V, size_t... lane>
static inline V every_second(V first, V second, size_t from, std::index_sequence<lane...>) {
  return from == 0 ? __builtin_shufflevector(first, second, (2 * lane)...)
                   : __builtin_shufflevector(first, second, (2 * lane + 1)...);
}

template <class Acc>
using LaneSequence = std::make_index_sequence<kLanes<Acc>>;

// Interleaves columns factor * x + j, which are in vector j, to the order in memory.
template <class Acc, int factor>
static inline void interleave(Vector<Acc>* columns) {
  const auto pair = [](Vector<Acc>& even, Vector<Acc>& odd) {
    const Vector<Acc> low = interleaved(even, odd, 0, LaneSequence<Acc>{});
    odd = interleaved(even, odd, 1, LaneSequence<Acc>{});
    even = low;
  };
  if constexpr (factor == 2) {
    pair(columns[0], columns[1]);
  } else if constexpr (factor == 4) {
    pair(columns[0], columns[2]);
    pair(columns[1], columns[3]);
    pair(columns[0], columns[1]);
    pair(columns[2], columns[3]);
  }
}

// The inverse of interleave.
template <class Acc, int factor>
static inline void deinterleave(Vector<Acc>* columns) {
  const auto pair = [](Vector<Acc>& first, Vector<Acc>& second) {
    const Vector<Acc> even = every_second(first, second, 0, LaneSequence<Acc>{});
    second = every_second(first, second, 1, LaneSequence<Acc>{});
    first = even;
  };
  if constexpr (factor == 2) {
    pair(columns[0], columns[1]);
  } else if constexpr (factor == 4) {
    pair(columns[0], columns[1]);
    pair(columns[2], columns[3]);
    pair(columns[0], columns[2]);
    pair(columns[1], columns[3]);
  }
}

// Column factor * x + j depends on cell x and, with this weight, on the cell before (j < factor / 2) or after it.
template <class Acc, int factor>
static inline constexpr Acc neighbour_weight(int j) {
  return static_cast<Acc>(j < factor / 2 ? factor / 2 - j : j - factor / 2) / factor;
}

// Cells of padding on either side of a row whose neighbours are read.
constexpr int64_t kMargin = 16;

// The columns of the upsampled row (1 - weight) * low + weight * high for the vector of cells at x: column factor * x + j
// in columns[j]. The rows have one more cell on either side.
template <class Acc, int factor, bool mixed>
static inline void upsampled_columns(const Acc* low, const Acc* high, Acc weight, int64_t x, Vector<Acc>* columns) {
  const auto cell = [&](int64_t at) {
    const Vector<Acc> one = load<Acc>(low + at);
    if constexpr (mixed) {
      return one + weight * (load<Acc>(high + at) - one);
    } else {
      return one;
    }
  };
  const Vector<Acc> middle = cell(x);
#pragma GCC unroll 4
  for (int j = 0; j < factor; ++j) {
    const Acc share = neighbour_weight<Acc, factor>(j);
    if (share == 0) {
      columns[j] = middle;
    } else {
      columns[j] = middle + share * (cell(j < factor / 2 ? x - 1 : x + 1) - middle);
    }
  }
}

// A row of logits has one more cell on either side.
template <class Acc>
static inline void repeat_ends(Acc* row, int64_t width) {
  row[-1] = row[0];
  row[width] = row[width - 1];
}

// Calls visit(i, low, high, weight) for the rows i in [begin, end) of the upsampled map: it is (1 - weight) * low + weight
// * high, rows of logits with repeated ends. compute(y, row) fills row y with logits. It is called once per row, in rising
// order, and row y is kept until row y + 2 is computed.
template <class Acc, class Compute, class Visit>
static inline void for_upsampled_rows(const Inputs& inputs, int64_t begin, int64_t end, Acc* logits,
                                      const Compute& compute, const Visit& visit) {
  const auto row = [&](int64_t y) { return logits + (y % 2) * (inputs.row_stride + 2 * kMargin) + kMargin; };
  int64_t next = upsample_source(begin, inputs.height, inputs.factor).low;
  for (int64_t i = begin; i < end; ++i) {
    const UpsampleSource source = upsample_source(i, inputs.height, inputs.factor);
    const int64_t last = source.weight > 0 ? source.high : source.low;
    for (; next <= last; ++next) {
      compute(next, row(next));
      repeat_ends(row(next), inputs.width);
    }
    visit(i, row(source.low), row(last), static_cast<Acc>(source.weight));
  }
}

static inline int64_t logit_rows_elements(const Inputs& inputs) { return 2 * (inputs.row_stride + 2 * kMargin); }

// Scratch memory

// The number of cells that the forward pass computes through all layers at a time, so that hidden layers stay in the L1
// cache.
constexpr int64_t kSegment = 192;

// Allocates parts of scratch memory; with nullptr it only counts bytes.
class Arena {
 public:
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <class Acc>
  Acc* take(int64_t elements) {
    char* part = memory_ == nullptr ? nullptr : memory_ + bytes_;
    bytes_ += (elements * static_cast<int64_t>(sizeof(Acc)) + 63) / 64 * 64;
    return reinterpret_cast<Acc*>(part);
  }

  int64_t bytes() const { return bytes_; }

 private:
  char* memory_;
  int64_t bytes_ = 0;
};

// The scratch memory of the forward pass of head and loss.
template <class Acc>
struct ForwardScratch {
  ForwardScratch(const Inputs& inputs, Arena& arena)
      : x_row(arena.take<Acc>(inputs.row_stride)),
        logits(arena.take<Acc>(logit_rows_elements(inputs))),
        hidden(arena.take<Acc>((inputs.network.num_layers - 1) * inputs.network.channels * kSegment)) {}

  Acc* x_row;
  Acc* logits;
  Acc* hidden;
};

// Row y of an instance's logits.
template <class Acc>
static inline void logits_of_row(const Inputs& inputs, const Instance<Acc>& instance, int64_t y, Acc* hidden,
                                 Acc* logits) {
  for (int64_t x = 0; x < inputs.row_stride; x += kSegment) {
    const int64_t cells = std::min(kSegment, inputs.row_stride - x);
    instance.all_layers(y, x, cells, hidden, logits + x);
  }
}

// Calls f with a value of Acc.
template <class F>
static inline void with_accumulator(bool wide, const F& f) {
  wide ? f(double{}) : f(float{});
}

// Calls f with the factor as a constant.
template <class F>
static inline void with_factor(int factor, const F& f) {
  switch (factor) {
    case 1:
      return f(std::integral_constant<int, 1>{});
    case 2:
      return f(std::integral_constant<int, 2>{});
    default:
      return f(std::integral_constant<int, 4>{});
  }
}

// Backward

// The scratch memory of the backward pass of head and loss. It holds rows y and y + 1 in turn.
template <class Acc>
struct BackwardScratch {
  BackwardScratch(const Inputs& inputs, Arena& arena)
      : x_row(arena.take<Acc>(inputs.row_stride)),
        logits(arena.take<Acc>(logit_rows_elements(inputs))),
        hidden_elements((inputs.network.num_layers - 1) * inputs.network.channels * inputs.row_stride),
        hidden(arena.take<Acc>(2 * hidden_elements)),
        row_elements(inputs.row_stride + 2 * kMargin),
        grad_logits(arena.take<Acc>(2 * row_elements)),
        grad_columns(arena.take<Acc>(inputs.factor * row_elements)),
        sums_elements(inputs.network.num_params() * kLanes<Acc>),
        sums(arena.take<Acc>(sums_elements)) {}

  Acc* hidden_of(int64_t y) const { return hidden + (y % 2) * hidden_elements; }
  Acc* grad_logits_of(int64_t y) const { return grad_logits + (y % 2) * row_elements; }
  // Gradients of columns factor * x + j of one row of the upsampled map, at x. 0 beyond both ends.
  Acc* columns(int j) const { return grad_columns + j * row_elements + kMargin; }

  Acc* x_row;
  Acc* logits;
  int64_t hidden_elements;
  Acc* hidden;
  int64_t row_elements;
  Acc* grad_logits;
  Acc* grad_columns;
  int64_t sums_elements;
  Acc* sums;  // [P] vectors, in the order of parameters, except that the weights of y precede those of x
};

// The transpose of upsampled_columns: adds the gradients of a row of the upsampled map, which are in scratch.columns, to
// the gradients of the logits in `low` and, unless it is null, in `high`.
template <class Acc, int factor>
static void add_to_logits(const BackwardScratch<Acc>& scratch, int64_t width, Acc weight, Acc* low, Acc* high) {
  constexpr int lanes = kLanes<Acc>;
  for (int64_t x = 0; x < width; x += lanes) {
    Vector<Acc> grad = {};
#pragma GCC unroll 4
    for (int j = 0; j < factor; ++j) {
      const Acc share = neighbour_weight<Acc, factor>(j);
      grad += (1 - share) * load<Acc>(scratch.columns(j) + x);
      if (share > 0) {
        grad += share * load<Acc>(scratch.columns(j) + (j < factor / 2 ? x + 1 : x - 1));
      }
    }
    store<Acc, Acc>(low + x, load<Acc>(low + x) + (1 - weight) * grad);
    if (high != nullptr) {
      store<Acc, Acc>(high + x, load<Acc>(high + x) + weight * grad);
    }
  }
  // The ends of a row replace their missing neighbours.
  Acc first = 0, last = 0;
  for (int j = 0; j < factor; ++j) {
    const Acc share = neighbour_weight<Acc, factor>(j);
    if (j < factor / 2) {
      first += share * scratch.columns(j)[0];
    } else if (share > 0) {
      last += share * scratch.columns(j)[width - 1];
    }
  }
  low[0] += (1 - weight) * first;
  low[width - 1] += (1 - weight) * last;
  if (high != nullptr) {
    high[0] += weight * first;
    high[width - 1] += weight * last;
  }
}

// Computes, from the gradients of row y's logits, the gradients of the parameters (into scratch.sums) and of the features
// (added to the row in grad_features [C, height, row_stride]). The hidden layers of the row, in `hidden`, are overwritten.
template <class Acc>
static void backward_row(const Inputs& inputs, const Instance<Acc>& instance, int64_t y, Acc* hidden,
                         const Acc* grad_logits, Acc* sums, Acc* grad_features) {
  constexpr int lanes = kLanes<Acc>;
  const Network& network = inputs.network;
  const int64_t cells = inputs.row_stride;
  InputRows<Acc> grads;  // of the layer's results
  grads.row[0] = grad_logits;
  grads.count = 1;
  for (int index = network.num_layers - 1; index >= 0; --index) {
    Acc* weight_sums = sums + network.weights(index) * lanes;
    Acc* bias_sums = sums + network.biases(index) * lanes;
    const int ins = network.in_channels(index);
    const int rest = index == 0 && network.num_coordinates() > 0 ? 1 : 0;  // y is the same for the whole row
    add_weight_gradient(grads, index == 0 ? instance.input_rows(y, 0) : instance.hidden_inputs(hidden, index - 1, cells),
                        weight_sums + rest * lanes, ins, cells);
    for (int o = 0; o < grads.count; ++o) {
      const Vector<Acc> sum = sum_of_row(grads.row[o], cells);
      store<Acc, Acc>(bias_sums + o * lanes, load<Acc>(bias_sums + o * lanes) + sum);
      if (rest > 0) {
        Acc* y_sums = weight_sums + o * ins * lanes;
        store<Acc, Acc>(y_sums, load<Acc>(y_sums) + instance.y_coordinate(y) * sum);
      }
    }
    const Acc* weights = instance.params() + network.weights(index);
    if (index > 0) {
      layer<Acc, Finish::relu_gradient>(grads, weights, ins, nullptr, ins, instance.hidden_layer(hidden, index - 1, cells),
                                        cells);
      grads = instance.hidden_inputs(hidden, index - 1, cells);
    } else {
      const Rows<Acc> rows{grad_features + y * inputs.row_stride, inputs.height * inputs.row_stride};
      layer<Acc, Finish::add>(grads, weights + network.num_coordinates(), ins, nullptr, network.feature_channels, rows,
                              cells);
    }
  }
}

// The sums over the lanes of all parameters, in the order of parameters.
template <class Acc>
static void finish_sums(const Network& network, const Acc* sums, Acc* grad_params) {
  const auto total = [&](int index) {
    Acc sum = 0;
    for (int lane = 0; lane < kLanes<Acc>; ++lane) {
      sum += sums[index * kLanes<Acc> + lane];
    }
    return sum;
  };
  for (int index = 0; index < network.num_params(); ++index) {
    grad_params[index] = total(index);
  }
  if (network.num_coordinates() > 0) {
    const int ins = network.in_channels(0);
    for (int o = 0; o < network.out_channels(0); ++o) {
      std::swap(grad_params[o * ins], grad_params[o * ins + 1]);
    }
  }
}

// Backward of tasks [begin, end). columns(index, i, low, high, weight, scratch) fills scratch.columns with the gradient
// of row i of instance `index`'s upsampled map; when with_logits, this row is (1 - weight) * low + weight * high.
template <class Acc, int factor, bool with_logits, class Columns>
static void backward_tasks(const Inputs& inputs, const Groups& groups, int64_t begin, int64_t end, void* memory,
                           const Columns& columns) {
  Arena arena(memory);
  const BackwardScratch<Acc> scratch(inputs, arena);
  std::fill(scratch.grad_columns, scratch.grad_columns + factor * scratch.row_elements, Acc(0));
  const int64_t bands = bands_of(inputs.height), cells = inputs.row_stride, height = inputs.height;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t band = task / inputs.num_images, image = task % inputs.num_images;
    const int64_t first_row = band_start(band, bands, height), end_row = band_start(band + 1, bands, height);
    Acc* grad_features =
        static_cast<Acc*>(groups.grad_features) + image * inputs.map_channels * height * inputs.row_stride;
    const int64_t end_position = std::min(groups.end, groups.image_start[image + 1]);
    for (int64_t position = std::max(groups.begin, groups.image_start[image]); position < end_position; ++position) {
      const int64_t index = groups.order[position];
      const Instance<Acc> instance(inputs, index, scratch.x_row);
      std::fill(scratch.grad_logits, scratch.grad_logits + 2 * scratch.row_elements, Acc(0));
      std::fill(scratch.sums, scratch.sums + scratch.sums_elements, Acc(0));

      const auto in_band = [&](int64_t y) { return y >= first_row && y < end_row; };
      const auto compute = [&](int64_t y, Acc* row) {
        if (with_logits || in_band(y)) {
          instance.hidden_rows(y, 0, cells, scratch.hidden_of(y));
        }
        if (with_logits) {
          instance.logits(y, 0, cells, scratch.hidden_of(y), row);
        }
      };
      const auto visit = [&](int64_t i, const Acc* low, const Acc* high, Acc weight) {
        columns(index, i, low, high, weight, scratch);
        const UpsampleSource source = upsample_source(i, height, factor);
        Acc* grad = scratch.grad_logits_of(source.low);
        add_to_logits<Acc, factor>(scratch, inputs.width, weight, grad,
                                   weight > 0 ? scratch.grad_logits_of(source.high) : nullptr);
        if (i + 1 < end_of_use(source.low, height, factor)) {
          return;
        }
        if (in_band(source.low)) {
          std::fill(grad + inputs.width, grad + cells, Acc(0));
          backward_row(inputs, instance, source.low, scratch.hidden_of(source.low), grad, scratch.sums, grad_features);
        }
        std::fill(grad, grad + cells, Acc(0));
      };
      for_upsampled_rows<Acc>(inputs, first_use(first_row, factor), end_of_use(end_row - 1, height, factor),
                              scratch.logits, compute, visit);
      const int64_t part = band * (groups.end - groups.begin) + position - groups.begin;
      finish_sums(inputs.network, scratch.sums,
                  static_cast<Acc*>(groups.partial) + part * inputs.network.num_params());
    }
  }
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst::mask_network
