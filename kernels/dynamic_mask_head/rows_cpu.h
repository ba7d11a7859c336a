// Rows of the mask head on the CPU, shared by dynamic_mask_head and dynamic_mask_loss: the layers and their gradients
// over a row of cells, and upsampling and its transpose.
//
// A row that is read or written here is a whole number of vectors long: rows of features are padded, and what the
// padding gives is never used.
#pragma once

#include <algorithm>
#include <utility>

#include "../common/simd_math.h"
#include "dynamic_mask_head_cpu.h"

namespace condinst::dynamic_mask_head {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;  // 32 vector registers, otherwise 16
#else
constexpr bool kManyRegisters = false;
#endif

// ---- Layers

// What becomes of the sums of a layer.
enum class Finish {
  store,          // out = sums + bias
  relu,           // out = max(sums + bias, 0)
  relu_gradient,  // out = sums where out > 0, otherwise 0: out is the result of the layer before
  add,            // out += sums
  weigh,          // out[0] += next * max(sums + bias, 0), summed over the outputs: the next layer, if it has one output
};

// Rows of one length, `stride` elements apart.
template <class T>
struct Rows {
  T* data;
  int64_t stride;

  T* operator[](int64_t row) const { return data + row * stride; }
};

// The inputs of a layer: rows that follow no rule.
template <class Acc>
struct InputRows {
  const Acc* row[kMaxInputs];
  int count;
};

// kOut rows of a layer for kVectors vectors from cell x. weights[i * in_step + o] belongs to input i and output o, next[o]
// to output o in the next layer.
template <class Acc, Finish finish, int kOut, int kVectors>
static inline void layer_block(const InputRows<Acc>& in, const Acc* weights, int64_t in_step, const Acc* bias,
                               const Acc* next, Rows<Acc> out, int64_t x) {
  constexpr int lanes = kLanes<Acc>;
  Vector<Acc> sums[kOut][kVectors];
#pragma GCC unroll 16
  for (int o = 0; o < kOut; ++o) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (finish == Finish::add) {
        sums[o][v] = load<Acc>(out[o] + x + v * lanes);
      } else if constexpr (finish == Finish::relu_gradient) {
        sums[o][v] = Vector<Acc>{};
      } else {
        sums[o][v] = Vector<Acc>{} + bias[o];
      }
    }
  }
  for (int i = 0; i < in.count; ++i, weights += in_step) {
    const Acc* row = in.row[i] + x;
    Vector<Acc> inputs[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      inputs[v] = load<Acc>(row + v * lanes);
    }
#pragma GCC unroll 16
    for (int o = 0; o < kOut; ++o) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        sums[o][v] += weights[o] * inputs[v];
      }
    }
  }
  if constexpr (finish == Finish::weigh) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      Acc* to = out[0] + x + v * lanes;
      Vector<Acc> total = load<Acc>(to);
#pragma GCC unroll 16
      for (int o = 0; o < kOut; ++o) {
        total += next[o] * relu(sums[o][v]);
      }
      store<Acc, Acc>(to, total);
    }
    return;
  }
#pragma GCC unroll 16
  for (int o = 0; o < kOut; ++o) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      Acc* to = out[o] + x + v * lanes;
      Vector<Acc> result = sums[o][v];
      if constexpr (finish == Finish::relu) {
        result = relu(result);
      } else if constexpr (finish == Finish::relu_gradient) {
        result = load<Acc>(to) <= 0 ? Vector<Acc>{} : result;
      }
      store<Acc, Acc>(to, result);
    }
  }
}

template <class Acc, Finish finish, int kOut>
static inline void layer_rows(const InputRows<Acc>& in, const Acc* weights, int64_t in_step, const Acc* bias,
                              const Acc* next, Rows<Acc> out, int64_t cells) {
  constexpr int lanes = kLanes<Acc>;
  // As many sums as registers hold beside the inputs.
  constexpr int kVectors = kOut == 8 ? (kManyRegisters ? 3 : 1) : kOut == 4 ? (kManyRegisters ? 4 : 2) : 4;
  int64_t x = 0;
  for (; x + kVectors * lanes <= cells; x += kVectors * lanes) {
    layer_block<Acc, finish, kOut, kVectors>(in, weights, in_step, bias, next, out, x);
  }
  for (; x < cells; x += lanes) {
    layer_block<Acc, finish, kOut, 1>(in, weights, in_step, bias, next, out, x);
  }
}

// A 1x1 convolution over a row.
template <class Acc, Finish finish>
static void layer(const InputRows<Acc>& in, const Acc* weights, int64_t in_step, const Acc* bias, int num_out,
                  Rows<Acc> out, int64_t cells, const Acc* next = nullptr) {
  int o = 0;
  const auto rows = [&](auto count) {
    constexpr int kOut = decltype(count)::value;
    const Acc* next_of_rows = finish == Finish::weigh ? next + o : nullptr;
    layer_rows<Acc, finish, kOut>(in, weights + o, in_step, bias + o, next_of_rows, {out[o], out.stride}, cells);
    o += kOut;
  };
  while (num_out - o >= 8) {
    rows(std::integral_constant<int, 8>{});
  }
  if (num_out - o >= 4) {
    rows(std::integral_constant<int, 4>{});
  }
  if (num_out - o >= 2) {
    rows(std::integral_constant<int, 2>{});
  }
  if (num_out - o >= 1) {
    rows(std::integral_constant<int, 1>{});
  }
}

// ---- Gradients of weights

// sums[a * step + b] (a vector each) += sum over the row of left[a] * right[b], lane by lane
template <class Acc, int kLeft, int kRight>
static void add_products(const Acc* const* left, const Acc* const* right, Acc* sums, int64_t step, int64_t cells) {
  constexpr int lanes = kLanes<Acc>;
  Vector<Acc> products[kLeft][kRight];
#pragma GCC unroll 16
  for (int a = 0; a < kLeft; ++a) {
#pragma GCC unroll 16
    for (int b = 0; b < kRight; ++b) {
      products[a][b] = load<Acc>(sums + (a * step + b) * lanes);
    }
  }
  for (int64_t x = 0; x < cells; x += lanes) {
    Vector<Acc> rights[kRight];
#pragma GCC unroll 16
    for (int b = 0; b < kRight; ++b) {
      rights[b] = load<Acc>(right[b] + x);
    }
#pragma GCC unroll 16
    for (int a = 0; a < kLeft; ++a) {
      const Vector<Acc> one = load<Acc>(left[a] + x);
#pragma GCC unroll 16
      for (int b = 0; b < kRight; ++b) {
        products[a][b] += one * rights[b];
      }
    }
  }
#pragma GCC unroll 16
  for (int a = 0; a < kLeft; ++a) {
#pragma GCC unroll 16
    for (int b = 0; b < kRight; ++b) {
      store<Acc, Acc>(sums + (a * step + b) * lanes, products[a][b]);
    }
  }
}

template <class Acc, int kLeft>
static void add_products_of(const Acc* const* left, const InputRows<Acc>& right, Acc* sums, int64_t step,
                            int64_t cells) {
  constexpr int lanes = kLanes<Acc>;
  constexpr int kRight = kManyRegisters ? 4 : 2;
  int b = 0;
  for (; b + kRight <= right.count; b += kRight) {
    add_products<Acc, kLeft, kRight>(left, right.row + b, sums + b * lanes, step, cells);
  }
  for (; b < right.count; ++b) {
    add_products<Acc, kLeft, 1>(left, right.row + b, sums + b * lanes, step, cells);
  }
}

// The gradient of a layer's weights from those of its results (`left`) and from its inputs (`right`).
template <class Acc>
static void add_weight_gradient(const InputRows<Acc>& left, const InputRows<Acc>& right, Acc* sums, int64_t step,
                                int64_t cells) {
  int a = 0;
  for (; a + 4 <= left.count; a += 4) {
    add_products_of<Acc, 4>(left.row + a, right, sums + a * step * kLanes<Acc>, step, cells);
  }
  for (; a < left.count; ++a) {
    add_products_of<Acc, 1>(left.row + a, right, sums + a * step * kLanes<Acc>, step, cells);
  }
}

template <class Acc>
static Vector<Acc> sum_of_row(const Acc* row, int64_t cells) {
  Vector<Acc> sum = {};
  for (int64_t x = 0; x < cells; x += kLanes<Acc>) {
    sum += load<Acc>(row + x);
  }
  return sum;
}

// ---- One instance

// The first layer's inputs are taken in the order y, x, features, so that all but y are neighbours. Which input of the
// parameters is at position i?
static inline int input_at(const Network& network, int layer, int i) {
  return layer == 0 && i < network.num_coordinates() ? 1 - i : i;
}

// The network of one instance, ready to run over rows.
template <class Acc>
class Instance {
 public:
  // x_row: scratch for row_stride coordinates.
  Instance(const Inputs& inputs, int64_t index, Acc* x_row) : inputs_(inputs), network_(inputs.network), x_row_(x_row) {
    params_ = static_cast<const Acc*>(inputs.params) + index * network_.num_params();
    const int64_t image = inputs.image_indices[index];
    features_ = static_cast<const Acc*>(inputs.features) + image * inputs.feature_channels * plane();
    const Acc* location = static_cast<const Acc*>(inputs.locations) + 2 * index;
    const Acc size = static_cast<const Acc*>(inputs.sizes)[index];
    y_axis_ = axis(network_.coordinates, location[1], size);
    if (has_coordinates()) {
      const Axis<Acc> x_axis = axis(network_.coordinates, location[0], size);
      for (int64_t x = 0; x < inputs.row_stride; ++x) {
        x_row_[x] = x_axis.coordinate(pixel<Acc>(x, inputs.feature_stride));
      }
    }
    // (out, in) to (in, out), as a layer reads the weights of one input together
    Acc* to = weights_;
    for (int layer = 0; layer < network_.num_layers; ++layer) {
      const int ins = network_.in_channels(layer), outs = network_.out_channels(layer);
      const Acc* from = params_ + network_.weights(layer);
      for (int i = 0; i < ins; ++i) {
        for (int o = 0; o < outs; ++o) {
          *to++ = from[o * ins + input_at(network_, layer, i)];
        }
      }
    }
  }

  const Acc* params() const { return params_; }

  Acc y_coordinate(int64_t y) const { return y_axis_.coordinate(pixel<Acc>(y, inputs_.feature_stride)); }

  // The inputs of the first layer from cell (y, x) on, but for the coordinate y, which is the same in all of the row.
  InputRows<Acc> input_rows(int64_t y, int64_t x) const {
    InputRows<Acc> rows;
    rows.count = 0;
    if (has_coordinates()) {
      rows.row[rows.count++] = x_row_ + x;
    }
    for (int c = 0; c < network_.feature_channels; ++c) {
      rows.row[rows.count++] = features_ + c * plane() + y * inputs_.row_stride + x;
    }
    return rows;
  }

  // The hidden layers of `cells` cells from (y, x) on, into hidden [num_layers - 1, channels, cells].
  void hidden_rows(int64_t y, int64_t x, int64_t cells, Acc* hidden) const {
    for (int index = 0; index < network_.num_layers - 1; ++index) {
      run<Finish::relu>(index, index == 0 ? input_rows(y, x) : hidden_inputs(hidden, index - 1, cells), y,
                        hidden_layer(hidden, index, cells), cells);
    }
  }

  // All layers of `cells` cells from (y, x) on. The last two go together, so `hidden` [num_layers - 2, channels, cells]
  // gets the others alone.
  void all_layers(int64_t y, int64_t x, int64_t cells, Acc* hidden, Acc* logits) const {
    const int last = network_.num_layers - 1;
    if (last == 0) {
      return run<Finish::store>(0, input_rows(y, x), y, {logits, 0}, cells);
    }
    for (int index = 0; index < last - 1; ++index) {
      run<Finish::relu>(index, index == 0 ? input_rows(y, x) : hidden_inputs(hidden, index - 1, cells), y,
                        hidden_layer(hidden, index, cells), cells);
    }
    std::fill(logits, logits + cells, params_[network_.biases(last)]);
    run<Finish::weigh>(last - 1, last == 1 ? input_rows(y, x) : hidden_inputs(hidden, last - 2, cells), y, {logits, 0},
                       cells);
  }

  // The last layer, of what hidden_rows gave.
  void logits(int64_t y, int64_t x, int64_t cells, const Acc* hidden, Acc* logits) const {
    const int last = network_.num_layers - 1;
    run<Finish::store>(last, last == 0 ? input_rows(y, x) : hidden_inputs(hidden, last - 1, cells), y, {logits, 0},
                       cells);
  }

  Rows<Acc> hidden_layer(Acc* hidden, int index, int64_t cells) const {
    return {hidden + index * network_.channels * cells, cells};
  }

  InputRows<Acc> hidden_inputs(const Acc* hidden, int index, int64_t cells) const {
    InputRows<Acc> rows;
    rows.count = network_.channels;
    for (int c = 0; c < rows.count; ++c) {
      rows.row[c] = hidden + (index * network_.channels + c) * cells;
    }
    return rows;
  }

 private:
  bool has_coordinates() const { return network_.num_coordinates() > 0; }
  int64_t plane() const { return inputs_.height * inputs_.row_stride; }

  template <Finish finish>
  void run(int index, const InputRows<Acc>& in, int64_t y, Rows<Acc> out, int64_t cells) const {
    const int outs = network_.out_channels(index);
    const Acc* weights = weights_ + network_.weights(index);
    const Acc* bias = params_ + network_.biases(index);
    const Acc* next = weights_ + network_.weights(network_.num_layers - 1);
    if (index > 0 || !has_coordinates()) {
      layer<Acc, finish>(in, weights, outs, bias, outs, out, cells, next);
      return;
    }
    Acc row_bias[kMaxChannels];  // y is the same in all of the row
    const Acc coordinate = y_coordinate(y);
    for (int o = 0; o < outs; ++o) {
      row_bias[o] = bias[o] + coordinate * weights[o];
    }
    layer<Acc, finish>(in, weights + outs, outs, row_bias, outs, out, cells, next);
  }

  const Inputs& inputs_;
  const Network network_;
  Acc* x_row_;
  const Acc* params_;
  const Acc* features_;
  Axis<Acc> y_axis_;
  Acc weights_[(kMaxInputs + (kMaxLayers - 2) * kMaxChannels + 1) * kMaxChannels];
};

// ---- Upsampling

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

// From columns factor * x + j in vector j to the order in memory.
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

// The other way round.
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

// Column factor * x + j is made of cell x, and with this weight of the one before (j < factor / 2) or after it.
template <class Acc, int factor>
static inline constexpr Acc neighbour_weight(int j) {
  return static_cast<Acc>(j < factor / 2 ? factor / 2 - j : j - factor / 2) / factor;
}

// Cells of padding on either side of a row whose neighbours are read.
constexpr int64_t kMargin = 16;

// The columns of the upsampled row (1 - weight) * low + weight * high for the vector of cells at x: column
// factor * x + j in columns[j]. The rows go on to either side by one cell.
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

// A row of logits goes on to either side by one cell.
template <class Acc>
static inline void repeat_ends(Acc* row, int64_t width) {
  row[-1] = row[0];
  row[width] = row[width - 1];
}

// Calls visit(i, low, high, weight) for the rows i in [begin, end) of the upsampled map: it is (1 - weight) * low +
// weight * high, rows of logits with repeated ends. compute(y, row) fills the row y with logits; it is called for
// rows in rising order, once each, and row y is kept until row y + 2 comes.
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

// ---- Scratch memory

// Cells that the forward pass takes through all layers at a time, so that the hidden ones stay in the first cache.
constexpr int64_t kSegment = 192;

// Hands out parts of scratch memory, or with nullptr just counts.
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

// What the forward pass of head and loss needs.
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

// ---- Backward

// What the backward pass of head and loss needs. Rows y and y + 1 are kept at a time, in turn.
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
  Acc* sums;  // [P] vectors, in the order of parameters, but the weights of y before those of x
};

// The transpose of upsampled_columns: from the gradients of a row of the upsampled map, which are in
// scratch.columns, to those of the logits in `low` and, where it is not null, `high`; added.
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
  // The ends stand in for their missing neighbours.
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

// From the gradients of row y's logits to those of the parameters (into scratch.sums) and of the features (added to
// the row in grad_features [C, height, row_stride]). The hidden layers of the row, in `hidden`, are overwritten.
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
    const int rest = index == 0 && network.num_coordinates() > 0 ? 1 : 0;  // y is the same in all of the row
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

// The lanes' sums of all parameters, in the order of parameters.
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
        static_cast<Acc*>(groups.grad_features) + image * inputs.feature_channels * height * inputs.row_stride;
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
}  // namespace condinst::dynamic_mask_head
