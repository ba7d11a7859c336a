// The network of one instance on the pixels of one thread: activations in registers, parameters in shared memory.
//
// Everything is a template on the width of the hidden layers (padded with zeros to 2, 4, 8 or 16) and on the depth, so that
// register arrays are only indexed by constants. Every weight is read once per thread, four at a time and by all lanes at
// the same address, and used for all `pixels` of the thread.
#pragma once

#include "../common/cuda_numeric.h"
#include "mask_network_math.h"

namespace condinst::mask_network::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

// max(x, 0) that preserves NaN, which fmaxf does not. It is a single instruction instead of a comparison and a selection.
template <class Acc>
static __device__ __forceinline__ Acc relu(Acc x) {
#if defined(__CUDACC__)
  asm("max.NaN.f32 %0, %0, 0f00000000;" : "+f"(x));
  return x;
#else
  return x < 0 ? Acc(0) : x;
#endif
}

// The same network with a constant depth, so that the compiler also knows the offsets of the layers' parameters.
template <int depth>
static inline __host__ __device__ Network of_depth(Network network) {
  network.num_layers = depth;
  return network;
}

// The layout of the parameters of an instance in shared memory: for each layer a row of outputs per input, and a last row
// with the biases, so that a single access reads the weights of adjacent outputs. Sums of gradients have the same layout.
template <int width, int depth>
struct Layout {
  static constexpr int kFirst = depth == 1 ? 1 : width;  // outputs of the first layer

  int inputs;  // of the first layer

  __host__ __device__ int layer(int index) const {
    return index == 0 ? 0 : (inputs + 1) * kFirst + (index - 1) * (width + 1) * width;
  }
  __host__ __device__ int last() const { return layer(depth - 1); }
  __host__ __device__ int size() const { return last() + (depth == 1 ? inputs : width) + 1; }

  // The position of parameter `index` of a network.
  __device__ int place(const Network& any_network, int index) const {
    const Network network = of_depth<depth>(any_network);
    if (index >= network.weights(depth)) {
      const int bias = index - network.weights(depth);
      const int in_layer = depth == 1 ? 0 : min(bias / network.channels, depth - 1);
      const int rows = in_layer == 0 ? inputs : width;
      const int columns = in_layer == depth - 1 ? 1 : width;
      return layer(in_layer) + rows * columns + bias - in_layer * network.channels;
    }
    int in_layer = 0;
    while (in_layer + 1 < depth && index >= network.weights(in_layer + 1)) {
      ++in_layer;
    }
    const int weight = index - network.weights(in_layer);
    const int columns = in_layer == depth - 1 ? 1 : width;
    return layer(in_layer) + weight % network.in_channels(in_layer) * columns + weight / network.in_channels(in_layer);
  }
};

// Copies the parameters of an instance to shared memory. All threads of the block must call it; there is no barrier.
template <int width, int depth, class Acc>
static __device__ __forceinline__ void stage(const Network& any_network, Layout<width, depth> layout,
                                             const Acc* __restrict__ params, Acc* __restrict__ staged) {
  const Network network = of_depth<depth>(any_network);
#pragma unroll
  for (int layer = 0; layer < depth; ++layer) {
    const int columns = layer == depth - 1 ? 1 : width;
    const int rows = layer == 0 ? layout.inputs : width;
    const int in_channels = network.in_channels(layer);
    const int weights = network.weights(layer);
    const int biases = network.biases(layer);
    for (int to = static_cast<int>(threadIdx.x); to < (rows + 1) * columns; to += static_cast<int>(blockDim.x)) {
      const int in = to / columns;
      const int out = to % columns;
      Acc value = 0;
      if (out < network.out_channels(layer)) {
        if (in == rows) {
          value = params[biases + out];
        } else if (in < in_channels) {
          value = params[weights + out * in_channels + in];
        }
      }
      staged[layout.layer(layer) + to] = value;
    }
  }
}

// The number of values per access to shared memory.
template <class Acc, int columns>
constexpr int kChunk = columns * static_cast<int>(sizeof(Acc)) < 16 ? columns : 16 / static_cast<int>(sizeof(Acc));

// sums[column][pixel] += row[column] * x[pixel]
template <int columns, int pixels, class Acc>
static __device__ __forceinline__ void add_products(const Acc* row, const Acc (&x)[pixels],
                                                    Acc (&sums)[columns][pixels]) {
  constexpr int chunk = kChunk<Acc, columns>;
#pragma unroll
  for (int first = 0; first < columns; first += chunk) {
    const auto weights = load_pack<chunk>(row + first);
#pragma unroll
    for (int i = 0; i < chunk; ++i) {
#pragma unroll
      for (int pixel = 0; pixel < pixels; ++pixel) {
        sums[first + i][pixel] += weights.values[i] * x[pixel];
      }
    }
  }
}

// sums[pixel] += sum over columns of row[column] * x[column][pixel]
template <int columns, int pixels, class Acc>
static __device__ __forceinline__ void add_dot_products(const Acc* row, const Acc (&x)[columns][pixels],
                                                        Acc (&sums)[pixels]) {
  constexpr int chunk = kChunk<Acc, columns>;
#pragma unroll
  for (int first = 0; first < columns; first += chunk) {
    const auto weights = load_pack<chunk>(row + first);
#pragma unroll
    for (int i = 0; i < chunk; ++i) {
#pragma unroll
      for (int pixel = 0; pixel < pixels; ++pixel) {
        sums[pixel] += weights.values[i] * x[first + i][pixel];
      }
    }
  }
}

// sums[column][pixel] = row[column]
template <int columns, int pixels, class Acc>
static __device__ __forceinline__ void broadcast(const Acc* row, Acc (&sums)[columns][pixels]) {
  constexpr int chunk = kChunk<Acc, columns>;
#pragma unroll
  for (int first = 0; first < columns; first += chunk) {
    const auto biases = load_pack<chunk>(row + first);
#pragma unroll
    for (int i = 0; i < chunk; ++i) {
#pragma unroll
      for (int pixel = 0; pixel < pixels; ++pixel) {
        sums[first + i][pixel] = biases.values[i];
      }
    }
  }
}

// The first layer before its ReLU. `pixels_of_thread` has the inputs: coordinates(x, y) and feature(channel, x).
template <int columns, int pixels, class Acc, class Pixels>
static __device__ __forceinline__ void first_layer(const Acc* weights, const Network& network,
                                                   const Pixels& pixels_of_thread, Acc (&sums)[columns][pixels]) {
  const Acc* row = weights;
  broadcast(weights + network.in_channels(0) * columns, sums);
  if (network.coordinates != Coordinates::none) {
    Acc x[pixels], y[pixels];
    pixels_of_thread.coordinates(x, y);
    add_products(row, x, sums);
    add_products(row + columns, y, sums);
    row += 2 * columns;
  }
  // Four channels at a time, so that the latencies of their loads overlap.
#pragma unroll 4
  for (int channel = 0; channel < network.feature_channels; ++channel) {
    Acc x[pixels];
    pixels_of_thread.feature(channel, x);
    add_products(row, x, sums);
    row += columns;
  }
}

template <int width, int depth, int pixels, class Acc>
struct Activations {
  Acc hidden[depth == 1 ? 1 : depth - 1][width][pixels];  // after the ReLU
};

// The logits of the thread's pixels. The compiler removes activations that the caller does not use.
template <int width, int depth, int pixels, class Acc, class Pixels>
static __device__ __forceinline__ void logits_of(const Acc* weights, const Network& network,
                                                 const Pixels& pixels_of_thread,
                                                 Activations<width, depth, pixels, Acc>& activations,
                                                 Acc (&logits)[pixels]) {
  const Layout<width, depth> layout{network.in_channels(0)};
  if constexpr (depth == 1) {
    Acc sums[1][pixels];
    first_layer(weights, network, pixels_of_thread, sums);
#pragma unroll
    for (int pixel = 0; pixel < pixels; ++pixel) {
      logits[pixel] = sums[0][pixel];
    }
  } else {
    auto& hidden = activations.hidden;
    first_layer(weights, network, pixels_of_thread, hidden[0]);
#pragma unroll
    for (int out = 0; out < width; ++out) {
#pragma unroll
      for (int pixel = 0; pixel < pixels; ++pixel) {
        hidden[0][out][pixel] = relu(hidden[0][out][pixel]);
      }
    }
#pragma unroll
    for (int pixel = 0; pixel < pixels; ++pixel) {
      logits[pixel] = weights[layout.last() + width];
    }
    if constexpr (depth == 2) {
      add_dot_products(weights + layout.last(), hidden[0], logits);
    }
    // A few outputs at a time, so that registers need not hold the whole layer before the last.
    constexpr int chunk = kChunk<Acc, width>;
#pragma unroll
    for (int layer = 1; layer < depth - 1; ++layer) {
      const Acc* rows = weights + layout.layer(layer);
#pragma unroll
      for (int first = 0; first < width; first += chunk) {
        Acc sums[chunk][pixels];
        broadcast(rows + width * width + first, sums);
#pragma unroll
        for (int in = 0; in < width; ++in) {
          add_products(rows + in * width + first, hidden[layer - 1][in], sums);
        }
#pragma unroll
        for (int out = 0; out < chunk; ++out) {
#pragma unroll
          for (int pixel = 0; pixel < pixels; ++pixel) {
            sums[out][pixel] = relu(sums[out][pixel]);
            hidden[layer][first + out][pixel] = sums[out][pixel];
          }
        }
        if (layer == depth - 2) {
          add_dot_products(weights + layout.last() + first, sums, logits);
        }
      }
    }
  }
}

// One step of sum_over_lanes: lanes that differ in bit `half` each keep half of 2 * half values.
template <int half, int count, class Acc>
static __device__ __forceinline__ void halve_over_lanes(Acc (&values)[count]) {
  const bool upper = (threadIdx.x & half) != 0;
#pragma unroll
  for (int i = 0; i < half; ++i) {
    const Acc kept = upper ? values[i + half] : values[i];
    const Acc sent = upper ? values[i] : values[i + half];
    values[i] = kept + __shfl_xor_sync(kAllLanes, sent, half);
  }
  if constexpr (half > 1) {
    halve_over_lanes<half / 2>(values);
  }
}

// Sums each of `count` values, a power of two, over the lanes of a warp; lane l ends with the sum of value l % count. The
// number of values halves in every step, so this takes about as many shuffles as there are values, instead of five per
// value.
template <int count, class Acc>
static __device__ __forceinline__ Acc sum_over_lanes(Acc (&values)[count]) {
  if constexpr (count > 1) {
    halve_over_lanes<count / 2>(values);
  }
#pragma unroll
  for (int lanes = 16; lanes >= count; lanes /= 2) {
    values[0] += __shfl_xor_sync(kAllLanes, values[0], lanes);
  }
  return values[0];
}

// sums[column] = over all pixels of the warp of grads[column][pixel] * x[pixel], for `rows` inputs x at once, and writes
// them to `to`, of which `available` values exist.
template <int rows, int columns, int pixels, class Acc>
static __device__ __forceinline__ void weight_gradients(const Acc (&grads)[columns][pixels],
                                                        const Acc (&x)[rows][pixels], Acc* to, int available) {
  Acc values[rows * columns];
#pragma unroll
  for (int row = 0; row < rows; ++row) {
#pragma unroll
    for (int column = 0; column < columns; ++column) {
      Acc sum = grads[column][0] * x[row][0];
#pragma unroll
      for (int pixel = 1; pixel < pixels; ++pixel) {
        sum += grads[column][pixel] * x[row][pixel];
      }
      values[row * columns + column] = sum;
    }
  }
  const Acc sum = sum_over_lanes(values);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane < rows * columns && lane < available) {
    to[lane] = sum;
  }
}

// The same for the biases: the sum of grads[column][pixel] over all pixels of the warp.
template <int columns, int pixels, class Acc>
static __device__ __forceinline__ void bias_gradients(const Acc (&grads)[columns][pixels], Acc* to) {
  Acc ones[1][pixels];
#pragma unroll
  for (int pixel = 0; pixel < pixels; ++pixel) {
    ones[0][pixel] = 1;
  }
  weight_gradients(grads, ones, to, columns);
}

// Backward of the first layer: the sums of its weight gradients over the warp, and the gradients of the features, which
// `pixels_of_thread` adds up: add_gradient(channel, gradients).
template <int columns, int pixels, class Acc, class Pixels>
static __device__ __forceinline__ void first_layer_backward(const Acc* weights, const Network& network,
                                                            Pixels& pixels_of_thread,
                                                            const Acc (&grads)[columns][pixels], Acc* sums) {
  constexpr int rows = 32 / columns < 8 ? 32 / columns : 8;
  const int inputs = network.in_channels(0);
  const int coordinates = network.num_coordinates();
  Acc x_and_y[2][pixels];
  if (coordinates != 0) {
    pixels_of_thread.coordinates(x_and_y[0], x_and_y[1]);
  }
  for (int first = 0; first <= inputs; first += rows) {
    Acc x[rows][pixels];
#pragma unroll
    for (int row = 0; row < rows; ++row) {
      const int input = first + row;
      if (input >= coordinates && input < inputs) {
        pixels_of_thread.feature(input - coordinates, x[row]);
      } else {
#pragma unroll
        for (int pixel = 0; pixel < pixels; ++pixel) {
          // The input of the biases is 1.
          x[row][pixel] = input == inputs ? Acc(1) : row < 2 && input < coordinates ? x_and_y[row][pixel] : Acc(0);
        }
      }
    }
    weight_gradients(grads, x, sums + first * columns, (inputs + 1 - first) * columns);
#pragma unroll
    for (int row = 0; row < rows; ++row) {
      const int input = first + row;
      if (input >= coordinates && input < inputs) {
        Acc gradient[pixels] = {};
        add_dot_products(weights + input * columns, grads, gradient);
        pixels_of_thread.add_gradient(input - coordinates, gradient);
      }
    }
  }
}

// grads[out][pixel] = 0 where the result of the ReLU is 0.
template <int columns, int pixels, class Acc>
static __device__ __forceinline__ void relu_backward(const Acc (&hidden)[columns][pixels],
                                                     Acc (&grads)[columns][pixels]) {
#pragma unroll
  for (int column = 0; column < columns; ++column) {
#pragma unroll
    for (int pixel = 0; pixel < pixels; ++pixel) {
      grads[column][pixel] = hidden[column][pixel] <= 0 ? Acc(0) : grads[column][pixel];
    }
  }
}

// Backward of `logits_of`. `sums` (one Layout) gets the gradients of the parameters, summed over the pixels of the warp,
// of which all 32 lanes must take part.
template <int width, int depth, int pixels, class Acc, class Pixels>
static __device__ __forceinline__ void network_backward(const Acc* weights, const Network& network,
                                                        Pixels& pixels_of_thread,
                                                        const Activations<width, depth, pixels, Acc>& activations,
                                                        const Acc (&grad_logits)[1][pixels], Acc* sums) {
  const Layout<width, depth> layout{network.in_channels(0)};
  if constexpr (depth == 1) {
    first_layer_backward(weights, network, pixels_of_thread, grad_logits, sums);
  } else {
    const auto& hidden = activations.hidden;
    weight_gradients(grad_logits, hidden[depth - 2], sums + layout.last(), width);
    bias_gradients(grad_logits, sums + layout.last() + width);
    Acc grads[width][pixels];
#pragma unroll
    for (int out = 0; out < width; ++out) {
      const Acc weight = weights[layout.last() + out];
#pragma unroll
      for (int pixel = 0; pixel < pixels; ++pixel) {
        grads[out][pixel] = weight * grad_logits[0][pixel];
      }
    }
    relu_backward(hidden[depth - 2], grads);

#pragma unroll
    for (int layer = depth - 2; layer > 0; --layer) {
      constexpr int rows = 32 / width < width ? 32 / width : width;
      const int offset = layout.layer(layer);
#pragma unroll
      for (int first = 0; first < width; first += rows) {
        Acc x[rows][pixels];
#pragma unroll
        for (int row = 0; row < rows; ++row) {
#pragma unroll
          for (int pixel = 0; pixel < pixels; ++pixel) {
            x[row][pixel] = hidden[layer - 1][first + row][pixel];
          }
        }
        weight_gradients(grads, x, sums + offset + first * width, rows * width);
      }
      bias_gradients(grads, sums + offset + width * width);

      Acc before[width][pixels] = {};
#pragma unroll
      for (int in = 0; in < width; ++in) {
        add_dot_products(weights + offset + in * width, grads, before[in]);
      }
      relu_backward(hidden[layer - 1], before);
#pragma unroll
      for (int in = 0; in < width; ++in) {
#pragma unroll
        for (int pixel = 0; pixel < pixels; ++pixel) {
          grads[in][pixel] = before[in][pixel];
        }
      }
    }
    first_layer_backward(weights, network, pixels_of_thread, grads, sums);
  }
}

}  // namespace condinst::mask_network::cuda
