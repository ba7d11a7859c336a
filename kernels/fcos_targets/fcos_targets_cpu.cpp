// Few locations are positive. So a band is first filled with background, and then each object is written to the cells of
// its window, where it replaces larger objects.
#include "fcos_targets_cpu.h"

#include <cmath>
#include <limits>

#include "../common/bytes.h"

namespace condinst::fcos_targets {
namespace CONDINST_ISA {
namespace {

// Rows [begin, end) of a level of an image; `first` is the location of the level's first cell, among all images.
struct Band {
  int64_t image;
  Level level;
  int64_t begin, end;
  int64_t first;
};

Band band_of(const Args& args, int64_t task) {
  const int64_t per_image = bands_per_image(args);
  const int64_t image = task / per_image;
  int64_t band = task % per_image;
  const Level* level = args.levels;
  for (; band >= bands_of(*level); ++level) {
    band -= bands_of(*level);
  }
  const int64_t begin = band * rows_per_band(*level);
  const int64_t end = begin + rows_per_band(*level);
  return {image, *level, begin, end < level->height ? end : level->height, image * args.num_locations + level->first};
}

void fill_background(const Args& args, const Band& band) {
  const int64_t first = band.first + band.begin * band.level.width;
  const int64_t count = (band.end - band.begin) * band.level.width;
  for (int64_t i = first; i < first + count; ++i) {
    args.location_labels[i] = args.num_classes;
  }
  fill_bytes(args.distances + 4 * first, 0, 4 * count);
  fill_bytes(args.centerness + first, 0, count);
  fill_bytes(args.object_indices + first, 0xff, count);  // -1
}

struct Range {
  int64_t begin, end;
};

// All cells between the larger of two lower bounds and the smaller of two upper bounds, and possibly a few more.
Range cells_between(const Level& level, float low_1, float low_2, float high_1, float high_2, Range within) {
  const double low = larger(low_1, low_2);
  const double high = smaller(high_1, high_2);
  if (!(low < high)) {
    return {within.begin, within.begin};
  }
  const double offset = static_cast<double>(level.stride / 2);
  const double stride = static_cast<double>(level.stride);
  // Positions of at least 2^24 are rounded to float before they are compared.
  const double slack = 0x1p-23;
  const double first = (low - slack * std::fabs(low) - offset) / stride - 1;
  const double last = (high + slack * std::fabs(high) - offset) / stride + 1;
  const auto clamp = [&](double cell) {  // clamped before the conversion, because int64_t has no infinity
    const double begin = static_cast<double>(within.begin), end = static_cast<double>(within.end);
    return static_cast<int64_t>(cell < begin ? begin : cell > end ? end : cell);
  };
  return {clamp(first), clamp(last + 1)};
}

// Assigns the matching locations of the band to the object, except locations that have a smaller object, or an earlier
// object of the same size.
void paint(const Args& args, const Band& band, int64_t object_index) {
  const Object object = object_of(args, object_index);
  if (!(object.area < std::numeric_limits<float>::infinity())) {
    return;
  }
  const Level& level = band.level;
  const Range rows = cells_between(level, object.y1, object.center_y - level.reach, object.y2,
                                   object.center_y + level.reach, {band.begin, band.end});
  const Range columns = cells_between(level, object.x1, object.center_x - level.reach, object.x2,
                                      object.center_x + level.reach, {0, level.width});
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float y = position_of(level, row);
    for (int64_t column = columns.begin; column < columns.end; ++column) {
      const float x = position_of(level, column);
      if (!matches(object, level, x, y)) {
        continue;
      }
      const int64_t location = band.first + row * level.width + column;
      const int64_t owner = args.object_indices[location];
      if (owner < 0 || object.area < area_of(args.boxes + 4 * owner)) {
        write_target(args, location, level, object_index, x, y);
      }
    }
  }
}

}  // namespace

void targets(const Args& args, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    const Band band = band_of(args, task);
    fill_background(args, band);
    for (int64_t object = 0; object < args.num_objects; ++object) {
      if (args.image_indices[object] == band.image) {
        paint(args, band, object);
      }
    }
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::fcos_targets
