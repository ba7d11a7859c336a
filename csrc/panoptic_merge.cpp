// panoptic_merge: schema, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are
// defensive checks for direct callers of torch.ops.condinst.
#include "../kernels/panoptic_merge/panoptic_merge_cpu.h"
#include "../kernels/panoptic_merge/panoptic_merge_cuda.h"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "registration.h"
#include "resampling.h"

namespace condinst::panoptic_merge {
namespace {

using resampling::Scale;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Half precision is not converted, other dtypes become float32.
Tensor as_logits(const Tensor& logits) {
  const bool narrow = logits.scalar_type() == ScalarType::Half || logits.scalar_type() == ScalarType::BFloat16;
  return narrow ? dense(logits) : dense(logits, ScalarType::Float);
}

struct Sizes {
  std::vector<int64_t> networks, outputs;  // height and width of each image
  int64_t mask_stride, semantic_stride;

  Scale scale(int64_t image, int64_t side, int64_t cells, int64_t stride) const {
    return {cells, stride, networks[2 * image + side], outputs[2 * image + side]};
  }
};

void check_sizes(const Args& args, const Sizes& sizes) {
  STD_TORCH_CHECK(is_stride(sizes.mask_stride) && is_stride(sizes.semantic_stride), "strides: expected 1 .. ",
                  kMostSide);
  const int64_t count = product("semantic_logits", {2, args.num_images});
  STD_TORCH_CHECK(static_cast<int64_t>(sizes.networks.size()) == count &&
                      static_cast<int64_t>(sizes.outputs.size()) == count,
                  "network_sizes, output_sizes: expected height and width of each image");
  for (int64_t image = 0; image < args.num_images; ++image) {
    const int64_t height = sizes.networks[2 * image];
    const int64_t width = sizes.networks[2 * image + 1];
    STD_TORCH_CHECK(
        0 < height && height <= args.mask_height * sizes.mask_stride &&
            height <= args.semantic_height * sizes.semantic_stride && 0 < width &&
            width <= args.mask_width * sizes.mask_stride && width <= args.semantic_width * sizes.semantic_stride,
        "network_sizes: expected at least 1 x 1 and at most the size of either map times its stride");
    STD_TORCH_CHECK(is_image_size(sizes.outputs[2 * image], sizes.outputs[2 * image + 1]),
                    "output_sizes: expected sides of 1 .. ", kMostSide, " and less than 2^31 pixels");
  }
}

// Arguments in the form that the kernels read, tables, results and scratch memory. Owns the memory that `args` points to.
class Inputs {
 public:
  Inputs(const Tensor& mask_logits, const Tensor& scores, const Tensor& image_indices, const Tensor& semantic_logits,
         const Sizes& sizes, int64_t num_things) {
    STD_TORCH_CHECK(mask_logits.dim() == 3, "mask_logits: expected [K, h, w]");
    STD_TORCH_CHECK(semantic_logits.dim() == 4 && semantic_logits.size(1) >= 1,
                    "semantic_logits: expected [B, C, h, w] with at least 1 channel");
    args.num_instances = mask_logits.size(0);
    STD_TORCH_CHECK(scores.dim() == 1 && scores.size(0) == args.num_instances, "scores: expected [K]");
    STD_TORCH_CHECK(image_indices.dim() == 1 && image_indices.size(0) == args.num_instances &&
                        image_indices.scalar_type() == ScalarType::Long,
                    "image_indices: expected [K] int64");
    STD_TORCH_CHECK(same_device(scores, mask_logits) && same_device(image_indices, mask_logits) &&
                        same_device(semantic_logits, mask_logits),
                    "expected all tensors on the device of mask_logits");
    args.num_images = semantic_logits.size(0);
    args.num_channels = semantic_logits.size(1);
    args.num_things = num_things;
    STD_TORCH_CHECK(0 <= num_things && num_things <= args.num_channels,
                    "num_thing_channels: expected 0 to the number of channels, got ", num_things);
    args.mask_height = mask_logits.size(1);
    args.mask_width = mask_logits.size(2);
    args.semantic_height = semantic_logits.size(2);
    args.semantic_width = semantic_logits.size(3);
    for (const int64_t side : {args.mask_height, args.mask_width, args.semantic_height, args.semantic_width}) {
      STD_TORCH_CHECK(is_side(side), "mask_logits, semantic_logits: expected sides of at most ", kMostSide);
    }
    STD_TORCH_CHECK(is_side(sum("mask_logits, semantic_logits", args.num_instances, args.num_channels)),
                    "mask_logits, semantic_logits: expected at most ", kMostSide, " instances and channels together");
    check_sizes(args, sizes);
    mask_logits_ = as_logits(mask_logits);
    semantic_logits_ = as_logits(semantic_logits);
    scores_ = dense(scores, ScalarType::Float);
    image_indices_ = dense(image_indices);
    args.mask_logits = mask_logits_.const_data_ptr();
    args.mask_type = element_type(mask_logits_);
    args.semantic_logits = semantic_logits_.const_data_ptr();
    args.semantic_type = element_type(semantic_logits_);
    args.scores = static_cast<const float*>(scores_.const_data_ptr());
    args.image_indices = static_cast<const int64_t*>(image_indices_.const_data_ptr());
    for (int64_t image = 0; image < args.num_images; ++image) {
      args.height = std::max(args.height, sizes.outputs[2 * image]);
      args.width = std::max(args.width, sizes.outputs[2 * image + 1]);
    }
    args.words = (args.width + 63) / 64;
    make_images(sizes);
    make_results();
  }
  Inputs(const Inputs&) = delete;

  Args args{};
  Tensor ids, instance_areas, stuff_areas;

 private:
  Tensor scratch(std::initializer_list<int64_t> sizes, ScalarType type) const {
    return torch::stable::new_empty(scores_, sizes, type);
  }

  void make_images(const Sizes& sizes) {
    constexpr int64_t kOfImage = static_cast<int64_t>(sizeof(Image) / sizeof(int64_t));
    images_ = scratch({args.num_images, kOfImage}, ScalarType::Long);
    Image* images = static_cast<Image*>(images_.mutable_data_ptr());
    args.images = images;
    const int64_t cells[] = {args.mask_height, args.mask_width, args.semantic_height, args.semantic_width};
    std::vector<Scale> scales;
    int64_t size = 0;
    for (int64_t i = 0; i < 4 * args.num_images; ++i) {
      scales.push_back(sizes.scale(i / 4, i % 2, cells[i % 4], i % 4 < 2 ? sizes.mask_stride : sizes.semantic_stride));
      size = sum("output_sizes", size, resampling::table_size(scales.back()));
    }
    tables_ = scratch({size}, ScalarType::Int);
    int32_t* table = static_cast<int32_t*>(tables_.mutable_data_ptr());
    for (int64_t image = 0; image < args.num_images; ++image) {
      Axis axes[4];
      for (int64_t pair = 0; pair < 4; pair += 2) {
        const Scale& rows = scales[4 * image + pair];
        const Scale& columns = scales[4 * image + pair + 1];
        int32_t* of_columns = table + resampling::table_size(rows);
        resampling::make_tables(scores_, rows, table, columns, of_columns);
        axes[pair] = resampling::axis_of(table, rows);
        axes[pair + 1] = resampling::axis_of(of_columns, columns);
        table = of_columns + resampling::table_size(columns);
      }
      set_image(images + image, {axes[0], axes[1], axes[2], axes[3]});
    }
  }

  void set_image(Image* to, const Image& image) const {
    if constexpr (kWithCuda) {
      if (on_cuda(scores_)) {
        return on_current_stream(scores_, [&](void* stream) { cuda::set_image(to, image, stream); });
      }
    }
    *to = image;
  }

  void make_results() {
    const int64_t num_stuff = args.num_channels - args.num_things;
    ids = torch::stable::new_empty(scores_, {args.num_images, args.height, args.width}, ScalarType::Int);
    instance_areas = torch::stable::new_zeros(image_indices_, {args.num_instances});
    stuff_areas = torch::stable::new_zeros(image_indices_, {args.num_images, num_stuff});
    // One word more than the maps have, because kernels read the word after the last one.
    const auto words = [&](int64_t maps) {
      return sum("output_sizes", product("output_sizes", {maps, args.height, args.words}), 1);
    };
    bits_ = scratch({words(args.num_instances)}, ScalarType::Long);
    taken_ = torch::stable::new_zeros(image_indices_, {words(args.num_images)});
    args.ids = static_cast<int32_t*>(ids.mutable_data_ptr());
    args.instance_areas = static_cast<int64_t*>(instance_areas.mutable_data_ptr());
    args.stuff_areas = static_cast<int64_t*>(stuff_areas.mutable_data_ptr());
    args.bits = static_cast<uint64_t*>(bits_.mutable_data_ptr());
    args.taken = static_cast<uint64_t*>(taken_.mutable_data_ptr());
  }

  Tensor mask_logits_, semantic_logits_, scores_, image_indices_, images_, tables_, bits_, taken_;
};

// The candidates of each image by falling score.
std::vector<std::vector<int64_t>> rank(const Args& args) {
  std::vector<std::vector<int64_t>> ranked(args.num_images);
  for (int64_t instance = 0; instance < args.num_instances; ++instance) {
    if (is_candidate(args, instance)) {
      ranked[args.image_indices[instance]].push_back(instance);
    }
  }
  for (std::vector<int64_t>& instances : ranked) {
    std::sort(instances.begin(), instances.end(),
              [&](int64_t one, int64_t other) { return comes_before(args, one, other); });
  }
  return ranked;
}

void draw_masks(const Args& args, std::vector<Window>& windows) {
  const auto draw_mask = CONDINST_CPU_KERNEL(draw_mask);
  resampling::share_tasks(args.num_instances, [&](const auto& next) {
    std::vector<uint64_t> scratch;
    for (int64_t instance = next(); instance < args.num_instances; instance = next()) {
      if (is_candidate(args, instance)) {
        const Image& image = args.images[args.image_indices[instance]];
        const int64_t rows = image.mask_rows.pixels;
        const size_t size = resampling::scratch_size(image.mask_rows, image.mask_columns, 0, rows);
        scratch.resize(std::max(scratch.size(), size));
        draw_mask(args, instance,
                  resampling::lines_in(scratch.data(), image.mask_rows, image.mask_columns, 0, rows),
                  windows[instance]);
      }
    }
  });
}

std::vector<Band> cut_into_bands(const Args& args, std::vector<int64_t>& areas) {
  constexpr int64_t kBandsPerThread = 4;
  constexpr int64_t kRows = 32;  // the least rows of a band, which also reads two more rows of cells
  const int64_t threads = torch::stable::get_num_threads();
  std::vector<Band> bands;
  for (int64_t image = 0; image < args.num_images; ++image) {
    const int64_t rows = args.images[image].semantic_rows.pixels;
    const int64_t wanted = threads == 1 ? 1 : kBandsPerThread * threads / args.num_images;
    const int64_t count = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(rows / kRows, 1));
    for (int64_t i = 0; i < count; ++i) {
      bands.push_back({image, i * rows / count, (i + 1) * rows / count, nullptr});
    }
  }
  const int64_t num_stuff = args.num_channels - args.num_things;
  areas.resize(bands.size() * num_stuff);
  for (size_t i = 0; i < bands.size(); ++i) {
    bands[i].areas = areas.data() + i * num_stuff;
  }
  return bands;
}

// Adds up the areas of the bands. Areas below the limit become 0, and are marked in the result.
std::vector<uint8_t> sum_areas(const Args& args, const std::vector<Band>& bands) {
  const int64_t num_stuff = args.num_channels - args.num_things;
  for (const Band& band : bands) {
    for (int64_t stuff = 0; stuff < num_stuff; ++stuff) {
      args.stuff_areas[band.image * num_stuff + stuff] += band.areas[stuff];
    }
  }
  std::vector<uint8_t> is_small(args.num_images * num_stuff);
  for (size_t i = 0; i < is_small.size(); ++i) {
    if (args.stuff_areas[i] < args.stuff_area_limit) {
      args.stuff_areas[i] = 0;
      is_small[i] = 1;
    }
  }
  return is_small;
}

void on_cpu(const Args& args) {
  std::vector<Window> windows(args.num_instances);
  draw_masks(args, windows);
  const std::vector<std::vector<int64_t>> ranked = rank(args);
  const auto ranking = [&](int64_t image) {
    return Ranking{ranked[image].data(), static_cast<int64_t>(ranked[image].size())};
  };
  const auto settle_image = CONDINST_CPU_KERNEL(settle_image);
  resampling::share_tasks(args.num_images, [&](const auto& next) {
    for (int64_t image = next(); image < args.num_images; image = next()) {
      settle_image(args, image, ranking(image), windows.data());
    }
  });
  std::vector<int64_t> areas;
  const std::vector<Band> bands = cut_into_bands(args, areas);
  const int64_t count = static_cast<int64_t>(bands.size());
  const auto paint_band = CONDINST_CPU_KERNEL(paint_band);
  resampling::share_tasks(count, [&](const auto& next) {
    std::vector<float> scratch(cell_rows_size(args));
    for (int64_t i = next(); i < count; i = next()) {
      paint_band(args, bands[i], ranking(bands[i].image), windows.data(), cell_rows_in(scratch.data(), args));
    }
  });
  const int64_t num_stuff = args.num_channels - args.num_things;
  const std::vector<uint8_t> is_small = sum_areas(args, bands);
  const auto erase_stuff = CONDINST_CPU_KERNEL(erase_stuff);
  resampling::share_tasks(count, [&](const auto& next) {
    for (int64_t i = next(); i < count; i = next()) {
      const uint8_t* of_image = is_small.data() + bands[i].image * num_stuff;
      bool has_small = false;
      for (int64_t stuff = 0; stuff < num_stuff; ++stuff) {
        has_small |= of_image[stuff] != 0 && bands[i].areas[stuff] > 0;
      }
      if (has_small) {
        erase_stuff(args, bands[i], of_image);
      }
    }
  });
}

void on_device(const Args& args, const Tensor& like) {
  const auto allocate = [&](std::initializer_list<int64_t> sizes) {
    return torch::stable::new_empty(like, sizes, ScalarType::Int);
  };
  const Tensor ranked = allocate({args.num_images, args.num_instances});
  const Tensor counts = torch::stable::new_zeros(like, {args.num_images}, ScalarType::Int);
  const Tensor band_areas = allocate({args.num_instances, cuda::num_bands(args)});
  const Tensor channels = allocate({args.num_images, args.semantic_height, args.semantic_width});
  const cuda::Scratch scratch{
      static_cast<int32_t*>(ranked.mutable_data_ptr()), static_cast<int32_t*>(counts.mutable_data_ptr()),
      static_cast<int32_t*>(band_areas.mutable_data_ptr()), static_cast<int32_t*>(channels.mutable_data_ptr())};
  on_current_stream(like, [&](void* stream) { cuda::merge(args, scratch, stream); });
}

void run(const Args& args, const Tensor& like) {
  if (args.num_images == 0) {
    return;
  }
  if constexpr (kWithCuda) {
    if (on_cuda(like)) {
      return on_device(args, like);
    }
  }
  on_cpu(args);
}

// mask_logits [K, h, w], scores [K], image_indices [K], semantic_logits [B, C, h_s, w_s]
// -> ids [B, H, W], instance_areas [K], stuff_areas [B, S]
std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& mask_logits, const Tensor& scores,
                                           const Tensor& image_indices, const Tensor& semantic_logits,
                                           std::vector<int64_t> network_sizes, std::vector<int64_t> output_sizes,
                                           int64_t num_thing_channels, int64_t mask_stride, int64_t semantic_stride,
                                           double score_threshold, double mask_threshold, double overlap_threshold,
                                           int64_t stuff_area_limit) {
  const Sizes sizes{std::move(network_sizes), std::move(output_sizes), mask_stride, semantic_stride};
  Inputs inputs(mask_logits, scores, image_indices, semantic_logits, sizes, num_thing_channels);
  Args& args = inputs.args;
  args.score_threshold = static_cast<float>(score_threshold);
  args.mask_threshold = static_cast<float>(mask_threshold);
  args.overlap_threshold = overlap_threshold;
  args.stuff_area_limit = stuff_area_limit;
  run(args, inputs.instance_areas);
  return {inputs.ids, inputs.instance_areas, inputs.stuff_areas};
}

}  // namespace
}  // namespace condinst::panoptic_merge

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "panoptic_merge(Tensor mask_logits, Tensor scores, Tensor image_indices, Tensor semantic_logits, "
      "SymInt[] network_sizes, SymInt[] output_sizes, int num_thing_channels, int mask_stride, int semantic_stride, "
      "float score_threshold, float mask_threshold, float overlap_threshold, int stuff_area_limit) "
      "-> (Tensor ids, Tensor instance_areas, Tensor stuff_areas)");
}

CONDINST_LIBRARY_IMPL(m) {
  m.impl("panoptic_merge", TORCH_BOX(&condinst::panoptic_merge::forward));
}
