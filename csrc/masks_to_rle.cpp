// masks_to_rle: schema, dispatch, and COCO's strings from the changes that the kernels find. csrc/resampling.h has the code
// that masks_to_image shares.
#include "../kernels/masks_to_rle/encoder.h"
#include "../kernels/masks_to_rle/masks_to_rle_cpu.h"
#include "../kernels/masks_to_rle/masks_to_rle_cuda.h"

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "registration.h"
#include "resampling.h"

namespace condinst::masks_to_rle {
namespace {

using namespace resampling;

const torch::stable::Device kHost(torch::headeronly::DeviceType::CPU);

// The memory that a thread keeps between tasks.
struct Scratch {
  std::vector<uint64_t> lines;
  std::vector<int32_t> positions;
  std::vector<char> text;
};

// Calls use(positions, count) with the changes in columns of a mask, a few columns at a time, while they are in the cache.
template <class Use>
void find_on_cpu(const Args& args, int64_t mask, int64_t begin, int64_t end, Scratch& scratch, const Use& use) {
  constexpr int64_t kPositions = 4096;
  const int64_t first = first_column(begin);
  scratch.lines.resize(
      std::max<size_t>(scratch.lines.size(), scratch_size(args.columns, args.rows, first, end)));
  scratch.positions.resize(column_capacity(args) + kPositions);
  Band band{};
  band.mask = mask;
  band.begin = begin;
  band.end = end;
  band.lines = lines_in(scratch.lines.data(), args.columns, args.rows, first, end);
  band.positions = scratch.positions.data();
  band.capacity = static_cast<int64_t>(scratch.positions.size());
  CONDINST_CPU_KERNEL(start)(args, band);
  const auto find_changes = CONDINST_CPU_KERNEL(find_changes);
  while (band.begin < band.end) {
    find_changes(args, band);
    use(band.positions, band.count);
  }
}

std::vector<Encoded> on_cpu(const Args& args) {
  std::vector<Encoded> encoded(args.count);
  const int64_t bands = cpu_bands(args, args.columns);
  const int64_t tasks = product("mask_logits", {args.count, bands});
  std::vector<std::vector<int32_t>> changes(bands > 1 ? tasks : 0);
  share_tasks(tasks, [&](const auto& next) {
    Scratch scratch;
    for (int64_t task = next(); task < tasks; task = next()) {
      const int64_t mask = task / bands;
      const int64_t begin = task % bands * args.columns.pixels / bands;
      const int64_t end = (task % bands + 1) * args.columns.pixels / bands;
      if (bands > 1) {
        find_on_cpu(args, mask, begin, end, scratch, [&](const int32_t* positions, int64_t count) {
          changes[task].insert(changes[task].end(), positions, positions + count);
        });
      } else {
        Encoder encoder(args.rows.pixels, args.columns.pixels, scratch.text);
        find_on_cpu(args, mask, begin, end, scratch,
                    [&](const int32_t* positions, int64_t count) { encoder.add(positions, count); });
        encoded[mask] = encoder.finish();
      }
    }
  });
  if (bands > 1) {
    share_tasks(args.count, [&](const auto& next) {
      Scratch scratch;
      for (int64_t mask = next(); mask < args.count; mask = next()) {
        Encoder encoder(args.rows.pixels, args.columns.pixels, scratch.text);
        for (int64_t band = 0; band < bands; ++band) {
          const std::vector<int32_t>& positions = changes[mask * bands + band];
          encoder.add(positions.data(), static_cast<int64_t>(positions.size()));
        }
        encoded[mask] = encoder.finish();
      }
    });
  }
  return encoded;
}

// Waits for the device twice: for the number of changes, and for the changes.
std::vector<Encoded> on_device(const Tensor& mask_logits, const Args& args) {
  const int64_t tasks = product("mask_logits", {args.count, cuda::band_count(args)});
  const Tensor offsets = torch::stable::new_empty(mask_logits, {args.count + 1}, ScalarType::Long);
  const Tensor starts = torch::stable::new_empty(mask_logits, {tasks + 1}, ScalarType::Long);
  on_current_stream(mask_logits, [&](void* stream) {
    cuda::count(args, static_cast<int64_t*>(starts.mutable_data_ptr()),
                static_cast<int64_t*>(offsets.mutable_data_ptr()), stream);
  });
  const Tensor host_offsets = torch::stable::to(offsets, kHost);
  const int64_t* ends = static_cast<const int64_t*>(host_offsets.const_data_ptr());
  const Tensor positions = torch::stable::new_empty(mask_logits, {ends[args.count]}, ScalarType::Int);
  on_current_stream(mask_logits, [&](void* stream) {
    cuda::write(args, static_cast<const int64_t*>(starts.const_data_ptr()),
                static_cast<int32_t*>(positions.mutable_data_ptr()), stream);
  });
  const Tensor host_positions = torch::stable::to(positions, kHost);
  const int32_t* changes = static_cast<const int32_t*>(host_positions.const_data_ptr());
  std::vector<Encoded> encoded(args.count);
  share_tasks(args.count, [&](const auto& next) {
    Scratch scratch;
    for (int64_t mask = next(); mask < args.count; mask = next()) {
      Encoder encoder(args.rows.pixels, args.columns.pixels, scratch.text);
      encoder.add(changes + ends[mask], ends[mask + 1] - ends[mask]);
      encoded[mask] = encoder.finish();
    }
  });
  return encoded;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> as_tensors(std::vector<Encoded> encoded) {
  const int64_t count = static_cast<int64_t>(encoded.size());
  const auto empty = [](std::initializer_list<int64_t> sizes, ScalarType type) {
    return torch::stable::empty(sizes, type, std::nullopt, kHost);
  };
  const Tensor offsets = empty({count + 1}, ScalarType::Long);
  const Tensor areas = empty({count}, ScalarType::Long);
  const Tensor boxes = empty({count, 4}, ScalarType::Float);
  int64_t* ends = static_cast<int64_t*>(offsets.mutable_data_ptr());
  ends[0] = 0;
  for (int64_t mask = 0; mask < count; ++mask) {
    ends[mask + 1] = ends[mask] + static_cast<int64_t>(encoded[mask].counts.size());
    static_cast<int64_t*>(areas.mutable_data_ptr())[mask] = encoded[mask].area;
    std::copy(encoded[mask].box, encoded[mask].box + 4, static_cast<float*>(boxes.mutable_data_ptr()) + 4 * mask);
  }
  const Tensor counts = empty({ends[count]}, ScalarType::Byte);
  char* text = static_cast<char*>(counts.mutable_data_ptr());
  for (int64_t mask = 0; mask < count; ++mask) {
    const std::string own = std::move(encoded[mask].counts);  // frees each string after its copy
    std::copy(own.begin(), own.end(), text + ends[mask]);
  }
  return {counts, offsets, areas, boxes};
}

// mask_logits [K, h, w] -> on the CPU: counts [R] uint8, those of mask i begin at offsets[i]; offsets [K + 1] int64; areas
// [K] int64; boxes [K, 4] float32
std::tuple<Tensor, Tensor, Tensor, Tensor> forward(const Tensor& mask_logits, int64_t mask_stride,
                                                   int64_t network_height, int64_t network_width,
                                                   int64_t output_height, int64_t output_width, double threshold) {
  const Masks inputs(mask_logits,
                     {mask_stride, network_height, network_width, output_height, output_width, threshold});
  if constexpr (kWithCuda) {
    if (on_cuda(mask_logits)) {
      return as_tensors(on_device(mask_logits, inputs.args));
    }
  }
  return as_tensors(on_cpu(inputs.args));
}

}  // namespace
}  // namespace condinst::masks_to_rle

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "masks_to_rle(Tensor mask_logits, int mask_stride, SymInt network_height, SymInt network_width, "
      "SymInt output_height, SymInt output_width, float threshold) "
      "-> (Tensor counts, Tensor offsets, Tensor areas, Tensor boxes)");
}

CONDINST_LIBRARY_IMPL(m) { m.impl("masks_to_rle", TORCH_BOX(&condinst::masks_to_rle::forward)); }
