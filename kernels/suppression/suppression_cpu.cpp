#include "suppression_cpu.h"

#include <utility>

#include "../common/bytes.h"

namespace condinst::suppression {
namespace CONDINST_ISA {
namespace {

// Stable sort of `count` candidates by key(candidate), a uint64_t. Digits that are the same in all keys are skipped. The
// result is in `order`.
template <class Key>
void radix_sort(int32_t*& order, int32_t*& spare, int64_t count, const Key& key) {
  uint64_t varying = 0;
  for (int64_t i = 1; i < count; ++i) {
    varying |= key(order[i]) ^ key(order[0]);
  }
  for (int shift = 0; shift < 64; shift += 8) {
    const auto digit = [&](int32_t candidate) { return key(candidate) >> shift & 0xff; };
    if ((varying >> shift & 0xff) == 0) {
      continue;
    }
    int32_t places[256] = {};
    for (int64_t i = 0; i < count; ++i) {
      ++places[digit(order[i])];
    }
    int32_t sum = 0;
    for (int32_t& place : places) {
      sum += std::exchange(place, sum);
    }
    for (int64_t i = 0; i < count; ++i) {
      spare[places[digit(order[i])]++] = order[i];
    }
    std::swap(order, spare);
  }
}

}  // namespace

void sort_candidates(const Args& args, Sorted& sorted) {
  int64_t count = 0;
  for (int64_t index = 0; index < args.num_candidates; ++index) {
    sorted.kept[index] = 0;
    if (is_candidate(args, index)) {
      sorted.by_score[count++] = static_cast<int32_t>(index);
    }
  }
  radix_sort(sorted.by_score, sorted.spare, count, [&](int32_t i) -> uint64_t { return falling(args.scores[i]); });
  copy_values(sorted.grouped, sorted.by_score, count);
  radix_sort(sorted.grouped, sorted.spare, count, [&](int32_t i) { return static_cast<uint64_t>(args.labels[i]); });
  radix_sort(sorted.grouped, sorted.spare, count,
             [&](int32_t i) { return static_cast<uint64_t>(args.image_indices[i]); });

  sorted.num_groups = 0;
  for (int64_t place = 0; place < count; ++place) {
    const int32_t here = sorted.grouped[place];
    const int32_t before = sorted.grouped[place == 0 ? 0 : place - 1];
    if (place == 0 || args.labels[here] != args.labels[before] ||
        args.image_indices[here] != args.image_indices[before]) {
      sorted.group_starts[sorted.num_groups++] = place;
    }
  }
  sorted.group_starts[sorted.num_groups] = count;
  sorted.num_sorted = count;
}

void write_best(const Args& args, const Sorted& sorted) {
  for (int64_t image = 0; image < args.num_images; ++image) {
    args.counts[image] = 0;
  }
  for (int64_t place = 0; place < args.num_images * args.capacity; ++place) {
    args.indices[place] = -1;
  }
  for (int64_t place = 0; place < sorted.num_sorted; ++place) {
    const int32_t candidate = sorted.by_score[place];
    const int64_t image = args.image_indices[candidate];
    int64_t* indices = args.indices + image * args.capacity;
    int64_t& count = args.counts[image];
    // the last written detection has the score at max_detections - 1, otherwise no later one would have been written
    if (sorted.kept[candidate] != 0 &&
        is_among_best(args, count, args.scores[candidate], count == 0 ? 0 : args.scores[indices[count - 1]])) {
      indices[count++] = candidate;
    }
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::suppression
