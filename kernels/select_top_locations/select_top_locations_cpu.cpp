#include "select_top_locations_cpu.h"

#include "../common/bytes.h"
#include "../common/simd.h"

namespace condinst::select_top_locations {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

// The largest of `count` logits, at least one.
template <class T>
float largest(const T* logits, int64_t count) {
  if constexpr (std::is_same_v<T, double>) {
    float best = static_cast<float>(logits[0]);
    for (int64_t i = 1; i < count; ++i) {
      const float value = static_cast<float>(logits[i]);
      best = exceeds(value, best) ? value : best;
    }
    return best;
  } else {
    constexpr int lanes = kLanes<float>;
    FloatVector bests = FloatVector{} - INFINITY;
    for (int64_t i = 0; i < count; i += lanes) {
      T padded[lanes];
      const T* from = logits + i;
      if (i + lanes > count) {
        for (int lane = 0; lane < lanes; ++lane) {
          padded[lane] = logits[i + lane < count ? i + lane : i];
        }
        from = padded;
      }
      const FloatVector values = load<float>(from);
      const UIntVector larger = bit_cast<UIntVector>((values > bests) | (values != values));
      bests = bit_cast<FloatVector>(choose(larger, bit_cast<UIntVector>(values), bit_cast<UIntVector>(bests)));
    }
    float best = bests[0];
    for (int lane = 1; lane < lanes; ++lane) {
      best = exceeds(bests[lane], best) ? bests[lane] : best;
    }
    return best;
  }
}

// Positives are far from each other in memory, so their logits are prefetched this many positives ahead.
constexpr int64_t kAhead = 8;

template <class T>
void prefetch(const T* from, int64_t count) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < count; i += line) {
    __builtin_prefetch(from + i);
  }
}

// The largest key such that at least `quota` of `count` > quota keys are not below it, bit by bit from the highest bit.
// Exactly `quota` keys are, because no two keys are equal.
uint64_t threshold(const uint64_t* keys, int64_t count, int64_t quota) {
  uint64_t reached = 0;
  for (uint64_t bit = uint64_t{1} << 63; bit > 0; bit >>= 1) {
    int64_t not_below = 0;
    for (int64_t i = 0; i < count; ++i) {
      not_below += keys[i] >= (reached | bit);
    }
    reached |= not_below >= quota ? bit : 0;
  }
  return reached;
}

template <class Class>
void select_in_image(const Args& args, int64_t image) {
  const Class* class_logits =
      static_cast<const Class*>(args.class_logits) + image * args.num_locations * args.num_classes;
  const float* centerness_logits = args.centerness_logits + image * args.num_locations;
  const int64_t* objects = args.object_indices + image * args.num_locations;
  int64_t* counts = args.counts + image * args.num_objects;
  int64_t* starts = args.starts + image * args.num_objects;
  uint64_t* keys = args.keys + image * args.num_locations;
  bool* selected = args.selected + image * args.num_locations;

  fill_bytes(selected, 0, args.num_locations);
  fill_bytes(counts, 0, args.num_objects);
  for (int64_t location = 0; location < args.num_locations; ++location) {
    if (is_positive(args, objects[location])) {
      ++counts[objects[location]];
    }
  }
  int64_t positives = 0, matched = 0;
  for (int64_t object = 0; object < args.num_objects; ++object) {
    starts[object] = positives;
    positives += counts[object];
    matched += counts[object] > 0;
    counts[object] = 0;
  }
  for (int64_t location = 0; location < args.num_locations; ++location) {
    const int64_t object = objects[location];
    if (is_positive(args, object)) {
      keys[starts[object] + counts[object]++] = static_cast<uint64_t>(location);
    }
  }
  const auto logits_of = [&](uint64_t location) {
    return class_logits + static_cast<int64_t>(location) * args.num_classes;
  };
  for (int64_t i = 0; i < positives; ++i) {
    if (i + kAhead < positives) {
      prefetch(logits_of(keys[i + kAhead]), args.num_classes);
    }
    const auto location = static_cast<int64_t>(keys[i]);
    keys[i] = key_of(largest(logits_of(keys[i]), args.num_classes), centerness_logits[location], location);
  }
  const int64_t quota = quota_of(args, matched);
  for (int64_t object = 0; object < args.num_objects; ++object) {
    const uint64_t* own = keys + starts[object];
    const uint64_t least = counts[object] > quota ? threshold(own, counts[object], quota) : 0;
    for (int64_t i = 0; i < counts[object]; ++i) {
      if (own[i] >= least) {
        selected[location_of(own[i])] = true;
      }
    }
  }
}

}  // namespace

void select(const Args& args, int64_t begin, int64_t end) {
  with_class_type(args, [&](auto class_value) {
    for (int64_t image = begin; image < end; ++image) {
      select_in_image<decltype(class_value)>(args, image);
    }
  });
}

}  // namespace CONDINST_ISA
}  // namespace condinst::select_top_locations
