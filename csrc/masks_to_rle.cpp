// masks_to_rle: schema, allocation, dispatch. csrc/resampling.h has what masks_to_image needs, too. The strings are made
// of the positions by condinst._host.
#include "../kernels/masks_to_rle/masks_to_rle_cpu.h"
#include "../kernels/masks_to_rle/masks_to_rle_cuda.h"

#include <torch/csrc/stable/library.h>

#include <cstring>
#include <tuple>
#include <vector>

#include "resampling.h"

namespace condinst::masks_to_rle {
namespace {

using namespace resampling;

using Positions = std::vector<int32_t>;

// The changes of each band, as if the pixel before it were background.
std::vector<Positions> find_on_cpu(const Args& args, int64_t bands) {
  const auto fill = CONDINST_CPU_KERNEL(fill);
  const auto find_changes = CONDINST_CPU_KERNEL(find_changes);
  std::vector<Positions> found(args.count * bands);
  torch::stable::parallel_for(0, args.count * bands, 1, [&](int64_t first, int64_t last) {
    std::vector<uint64_t> scratch;
    Positions positions(4 * column_capacity(args));
    for (int64_t task = first; task < last; ++task) {
      Band band{};
      band.mask = task / bands;
      band.begin = task % bands * args.columns.pixels / bands;
      band.end = (task % bands + 1) * args.columns.pixels / bands;
      scratch.resize(std::max<size_t>(scratch.size(), scratch_size(args.columns, args.rows, band.begin, band.end)));
      band.lines = lines_in(scratch.data(), args.columns, args.rows, band.begin, band.end);
      fill(args, band);
      while (band.begin < band.end) {
        if (static_cast<int64_t>(positions.size()) - band.count < column_capacity(args)) {
          positions.resize(2 * positions.size());
        }
        band.positions = positions.data();
        band.capacity = static_cast<int64_t>(positions.size());
        find_changes(args, band);
      }
      found[task].assign(positions.begin(), positions.begin() + band.count);
    }
  });
  return found;
}

// Joins the bands of each mask: where one ends in the foreground, the next begins there or has a change more.
std::tuple<Tensor, Tensor> on_cpu(const Tensor& mask_logits, const Args& args) {
  const int64_t bands = cpu_bands(args, args.columns);
  const std::vector<Positions> found = find_on_cpu(args, bands);
  const Tensor offsets = torch::stable::new_empty(mask_logits, {args.count + 1}, ScalarType::Long);
  int64_t* ends = static_cast<int64_t*>(offsets.mutable_data_ptr());
  ends[0] = 0;
  // Calls each(band's positions, where to begin in them, whether a change at the band's begin comes first, its position)
  const auto for_each_band = [&](const auto& each) {
    for (int64_t mask = 0; mask < args.count; ++mask) {
      bool inside = false;
      for (int64_t band = 0; band < bands; ++band) {
        const Positions& own = found[mask * bands + band];
        const int32_t begin = static_cast<int32_t>(band * args.columns.pixels / bands * args.rows.pixels);
        const bool goes_on = inside && !own.empty() && own.front() == begin;
        each(mask, own, goes_on, inside && !goes_on, begin);
        inside = own.size() % 2 == 1;
      }
    }
  };
  std::fill(ends, ends + args.count + 1, 0);
  for_each_band([&](int64_t mask, const Positions& own, bool goes_on, bool leaves, int32_t) {
    ends[mask + 1] += static_cast<int64_t>(own.size()) - goes_on + leaves;
  });
  for (int64_t mask = 0; mask < args.count; ++mask) {
    ends[mask + 1] += ends[mask];
  }
  const Tensor positions = torch::stable::new_empty(mask_logits, {ends[args.count]}, ScalarType::Int);
  int32_t* next = static_cast<int32_t*>(positions.mutable_data_ptr());
  for_each_band([&](int64_t, const Positions& own, bool goes_on, bool leaves, int32_t begin) {
    if (leaves) {
      *next++ = begin;
    }
    next = std::copy(own.begin() + goes_on, own.end(), next);
  });
  return {positions, offsets};
}

// The number of positions is read from the device, so that this waits for it.
std::tuple<Tensor, Tensor> on_device(const Tensor& mask_logits, const Args& args) {
  const int64_t tasks = args.count * cuda::band_count(args);
  const Tensor offsets = torch::stable::new_empty(mask_logits, {args.count + 1}, ScalarType::Long);
  const Tensor starts = torch::stable::new_empty(mask_logits, {tasks + 1}, ScalarType::Long);
  on_current_stream(mask_logits, [&](void* stream) {
    cuda::count(args, static_cast<int64_t*>(starts.mutable_data_ptr()),
                static_cast<int64_t*>(offsets.mutable_data_ptr()), stream);
  });
  const Tensor total = torch::stable::to(torch::stable::narrow(const_cast<Tensor&>(offsets), 0, args.count, 1),
                                         torch::stable::Device(torch::headeronly::DeviceType::CPU));
  const Tensor positions = torch::stable::new_empty(
      mask_logits, {*static_cast<const int64_t*>(total.const_data_ptr())}, ScalarType::Int);
  on_current_stream(mask_logits, [&](void* stream) {
    cuda::write(args, static_cast<const int64_t*>(starts.const_data_ptr()),
                static_cast<int32_t*>(positions.mutable_data_ptr()), stream);
  });
  return {positions, offsets};
}

// mask_logits [K, h, w] -> positions [R] int32, offsets [K + 1] int64
std::tuple<Tensor, Tensor> forward(const Tensor& mask_logits, int64_t mask_stride, int64_t network_height,
                                   int64_t network_width, int64_t output_height, int64_t output_width,
                                   double threshold) {
  const Masks given(mask_logits,
                    {mask_stride, network_height, network_width, output_height, output_width, threshold});
  if constexpr (kWithCuda) {
    if (on_cuda(mask_logits)) {
      return on_device(mask_logits, given.args);
    }
  }
  return on_cpu(mask_logits, given.args);
}

}  // namespace
}  // namespace condinst::masks_to_rle

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "masks_to_rle(Tensor mask_logits, int mask_stride, int network_height, int network_width, int output_height, "
      "int output_width, float threshold) -> (Tensor positions, Tensor offsets)");
}

STABLE_TORCH_LIBRARY_IMPL(condinst, CPU, m) { m.impl("masks_to_rle", TORCH_BOX(&condinst::masks_to_rle::forward)); }

#if defined(CONDINST_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(condinst, CUDA, m) { m.impl("masks_to_rle", TORCH_BOX(&condinst::masks_to_rle::forward)); }
#endif
