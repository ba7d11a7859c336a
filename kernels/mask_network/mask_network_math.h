// The definitions that the CPU and the CUDA kernels share: the network of an instance and the positions of its parameters,
// the positions of cells, and the sources of a row or column of the upsampled map.
#pragma once

#include <cstdint>

#include "../common/host_device.h"

namespace condinst::mask_network {

constexpr int kMaxLayers = 4;
constexpr int kMaxChannels = 16;                   // of the hidden layers and of the features
constexpr int kMaxInputs = 2 + kMaxChannels;       // of the first layer
constexpr int kMaxFactor = 4;                      // of the upsampling: 1, 2 or 4

enum class Coordinates { none, relative, absolute };

// The small network that every instance has parameters for: all weights, layer by layer and (out, in) row-major, then all
// biases. The inputs of the first layer are x and y, if there are coordinates, followed by the features.
struct Network {
  int num_layers;         // 1 .. kMaxLayers
  int channels;           // of the hidden layers
  int feature_channels;   // 0 when the features are not used
  Coordinates coordinates;

  CONDINST_HOST_DEVICE int num_coordinates() const { return coordinates == Coordinates::none ? 0 : 2; }
  CONDINST_HOST_DEVICE int in_channels(int layer) const {
    return layer == 0 ? num_coordinates() + feature_channels : channels;
  }
  CONDINST_HOST_DEVICE int out_channels(int layer) const { return layer == num_layers - 1 ? 1 : channels; }
  // The offset of the weights of a layer; for layer num_layers, the number of all weights.
  CONDINST_HOST_DEVICE int weights(int layer) const {
    int offset = 0;
    for (int before = 0; before < layer; ++before) {
      offset += in_channels(before) * out_channels(before);
    }
    return offset;
  }
  CONDINST_HOST_DEVICE int biases(int layer) const { return weights(num_layers) + layer * channels; }
  CONDINST_HOST_DEVICE int num_params() const { return biases(num_layers - 1) + 1; }
};

// The coordinate of a cell along one axis is (origin - pixel) * scale, where pixel is the position of the cell.
template <class T>
struct Axis {
  T origin;
  T scale;

  CONDINST_HOST_DEVICE T coordinate(T pixel) const { return (origin - pixel) * scale; }
};

// location is the location of the instance along the axis, and size its size of interest.
template <class T>
static inline CONDINST_HOST_DEVICE Axis<T> axis(Coordinates coordinates, T location, T size) {
  if (coordinates == Coordinates::absolute) {
    return {T(0), T(-1) / size};
  }
  return {location, T(1) / size};
}

template <class T>
static inline CONDINST_HOST_DEVICE T pixel(int64_t cell, int64_t stride) {
  return static_cast<T>(cell * stride + stride / 2);
}

// Row (or column) i of the upsampled map is (1 - weight) * row low + weight * row high of the map. With a weight of 0 only
// row low is used; high is in the map whenever it is used.
struct UpsampleSource {
  int64_t low, high;
  float weight;  // a multiple of 1/4, so it is exact
};

static inline CONDINST_HOST_DEVICE UpsampleSource upsample_source(int64_t i, int64_t size, int factor) {
  const int64_t shifted = i < factor / 2 ? 0 : i - factor / 2;
  const int64_t low = shifted / factor;
  const int64_t high = low + 1 < size ? low + 1 : size - 1;
  return {low, high, high == low ? 0.0f : static_cast<float>(shifted % factor) / static_cast<float>(factor)};
}

// The rows of the upsampled map that depend on row k: [first_use, end_of_use), which the caller clips to the map.
static inline CONDINST_HOST_DEVICE int64_t first_use(int64_t k, int factor) {
  return k == 0 ? 0 : factor * k + factor / 2 - (factor - 1);
}

static inline CONDINST_HOST_DEVICE int64_t end_of_use(int64_t k, int64_t size, int factor) {
  return k == size - 1 ? factor * size : factor * k + factor / 2 + factor;
}

}  // namespace condinst::mask_network
