// The cells of a thread in the CUDA kernels, and the selection of the kernels of a network.
#pragma once

#include <stdexcept>

#include "../common/cuda_numeric.h"
#include "inputs.h"

namespace condinst::mask_network::cuda {

// The number of adjacent cells that a thread takes at a time; a tile starts at a multiple of it.
constexpr int kCells = 4;

static inline CONDINST_HOST_DEVICE int ceil_div(int a, int b) { return (a + b - 1) / b; }

static inline __device__ bool image_is_valid(const Inputs& inputs, int64_t instance) {
  const int64_t image = inputs.image_indices[instance];
  return image >= 0 && image < inputs.num_images;
}

// The axes of an instance's coordinates.
template <class Acc>
struct Axes {
  Axis<Acc> x, y;

  __device__ __forceinline__ Axes(const Inputs& inputs, int64_t instance) {
    if (inputs.network.coordinates != Coordinates::none) {
      const Acc* location = static_cast<const Acc*>(inputs.locations) + 2 * instance;
      const Acc size = static_cast<const Acc*>(inputs.sizes)[instance];
      x = axis(inputs.network.coordinates, location[0], size);
      y = axis(inputs.network.coordinates, location[1], size);
    }
  }
};

// The features of one image.
template <class Acc>
struct Features {
  const Acc* __restrict__ first;
  int64_t plane;    // cells of a channel
  bool aligned;     // kCells cells may be read at once, from any multiple of kCells

  __device__ __forceinline__ Features(const Inputs& inputs, int64_t image) {
    plane = static_cast<int64_t>(inputs.height) * inputs.width;
    first = static_cast<const Acc*>(inputs.features) + image * inputs.map_channels * plane;
    aligned = inputs.width % kCells == 0 && reinterpret_cast<uintptr_t>(inputs.features) % 16 == 0;
  }
};

// `groups` groups of `cells` adjacent cells of an instance's map, the inputs of its first layer. Cells beyond the last
// column are copies of the last, as the upsampling requires.
template <class Acc, int groups, int cells>
struct MapCells {
  static constexpr int kCount = groups * cells;

  const Inputs& inputs;
  const Axes<Acc>& axes;
  const Features<Acc>& features;
  int row[groups];     // within the map
  int column[groups];  // of the first cell, within the map

  __device__ __forceinline__ void coordinates(Acc (&x)[kCount], Acc (&y)[kCount]) const {
    const Acc stride = static_cast<Acc>(inputs.feature_stride);
    const Acc last = pixel<Acc>(inputs.width - 1, inputs.feature_stride);
#pragma unroll
    for (int group = 0; group < groups; ++group) {
      const Acc left = pixel<Acc>(column[group], inputs.feature_stride);
      const Acc of_row = axes.y.coordinate(pixel<Acc>(row[group], inputs.feature_stride));
#pragma unroll
      for (int i = 0; i < cells; ++i) {
        x[group * cells + i] = axes.x.coordinate(min(left + static_cast<Acc>(i) * stride, last));
        y[group * cells + i] = of_row;
      }
    }
  }

  __device__ __forceinline__ void feature(int channel, Acc (&x)[kCount]) const {
    const Acc* __restrict__ from = features.first + channel * features.plane;
#pragma unroll
    for (int group = 0; group < groups; ++group) {
      const int offset = row[group] * inputs.width + column[group];
      if (cells > 1 && features.aligned) {
        load_all<cells>(from + offset, x + group * cells);
      } else {
        const int last = inputs.width - 1 - column[group];
#pragma unroll
        for (int i = 0; i < cells; ++i) {
          x[group * cells + i] = from[offset + min(i, last)];
        }
      }
    }
  }
};

// Calls f(width, depth) with integral constants: the padded width of the hidden layers, and the number of layers.
template <class F>
static inline void with_network(const Network& network, const F& f) {
  const auto with_depth = [&](auto width) {
    switch (network.num_layers) {
      case 2:
        return f(width, std::integral_constant<int, 2>{});
      case 3:
        return f(width, std::integral_constant<int, 3>{});
      case 4:
        return f(width, std::integral_constant<int, 4>{});
    }
    throw std::invalid_argument("the CUDA kernels have 1 to 4 layers");
  };
  if (network.num_layers == 1) {
    return f(std::integral_constant<int, 2>{}, std::integral_constant<int, 1>{});  // no hidden layer
  }
  if (network.channels <= 2) {
    return with_depth(std::integral_constant<int, 2>{});
  }
  if (network.channels <= 4) {
    return with_depth(std::integral_constant<int, 4>{});
  }
  if (network.channels <= 8) {
    return with_depth(std::integral_constant<int, 8>{});
  }
  if (network.channels <= 16) {
    return with_depth(std::integral_constant<int, 16>{});
  }
  throw std::invalid_argument("the CUDA kernels have 1 to 16 channels");
}

// Calls f with a value of the accumulator type. With nvcc there are no kernels for float64, see with_element_type.
template <class F>
static inline void with_accumulator(const Inputs& inputs, const F& f) {
  with_element_type(inputs.wide ? ElementType::float64 : ElementType::float32, [&](auto acc) {
    if constexpr (std::is_same_v<decltype(acc), float> || std::is_same_v<decltype(acc), double>) {
      f(acc);
    }
  });
}

}  // namespace condinst::mask_network::cuda
