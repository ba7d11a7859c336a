// The network of one instance on the CPU: its layers and their gradients over a row of cells. Shared by dynamic_mask_head
// and dynamic_mask_loss.
//
// The length of a row that is read or written here is a whole number of vectors: rows of features are padded, and results
// in the padding are never used.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../common/simd_math.h"
#include "mask_network_cpu.h"

namespace condinst::mask_network {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;  // AVX-512 and NEON have 32 vector registers, others 16
#else
constexpr bool kManyRegisters = false;
#endif

// Layers

// How the sums of a layer are stored.
enum class Finish {
  store,          // out = sums + bias
  relu,           // out = max(sums + bias, 0)
  relu_gradient,  // out = sums where out > 0, otherwise 0: out is the result of the previous layer
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

// The inputs of a layer: rows at arbitrary addresses.
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
  // As many sums as fit into registers beside the inputs.
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

// Gradients of weights

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

// The gradient of a layer's weights, from the gradients of its results (`left`) and its inputs (`right`).
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

// The network of one instance

// Returns which input of the parameters is at position i. The first layer takes its inputs in the order y, x, features, so
// that all but y are adjacent.
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
    features_ = static_cast<const Acc*>(inputs.features) + image * inputs.map_channels * plane();
    const Acc* location = static_cast<const Acc*>(inputs.locations) + 2 * index;
    const Acc size = static_cast<const Acc*>(inputs.sizes)[index];
    y_axis_ = axis(network_.coordinates, location[1], size);
    if (has_coordinates()) {
      const Axis<Acc> x_axis = axis(network_.coordinates, location[0], size);
      for (int64_t x = 0; x < inputs.row_stride; ++x) {
        x_row_[x] = x_axis.coordinate(pixel<Acc>(x, inputs.feature_stride));
      }
    }
    // transposes (out, in) to (in, out), because a layer reads the weights of an input together
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

  // The inputs of the first layer from cell (y, x) on, except the coordinate y, which is the same for the whole row.
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

  // All layers of `cells` cells from (y, x) on. The last two layers are computed together, so `hidden` [num_layers - 2,
  // channels, cells] gets only the other layers.
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

  // The last layer, from the results of hidden_rows.
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
    Acc row_bias[kMaxChannels];  // y is the same for the whole row
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

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst::mask_network
