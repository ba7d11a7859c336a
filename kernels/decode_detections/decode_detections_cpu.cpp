#include "decode_detections_cpu.h"

#include <algorithm>

#include "../common/simd_compare.h"
#include "../common/simd_math.h"

namespace condinst::decode_detections {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;
using decode_detections::sigmoid;         // of one number
using condinst::CONDINST_ISA::sigmoid;    // of vectors

// Types of this file, so that instances of templates of the standard library belong to this file, too: see simd.h.
struct Better {
  bool operator()(uint64_t one, uint64_t other) const { return one < other; }
};
struct LowerIndex {
  bool operator()(uint64_t one, uint64_t other) const { return index_of(one) < index_of(other); }
};

// The candidates of a band, or the best of them.
class BandList {
 public:
  BandList(const Args& args, uint64_t* keys, int64_t capacity)
      : args_(args), keys_(keys), capacity_(capacity), bars_(bars_of(args, 0)) {}

  const Bars& bars() const { return bars_; }
  int64_t count() const { return count_; }

  void add(float score, int64_t index) {
    const uint64_t key = key_of(score, index);
    if (key > worst_) {
      return;
    }
    keys_[count_++] = key;
    if (count_ == capacity_ && capacity_ > args_.top_k) {
      uint64_t* last = keys_ + args_.top_k - 1;
      std::nth_element(keys_, last, keys_ + count_, Better{});
      count_ = args_.top_k;
      worst_ = *last;
      bars_ = bars_of(args_, score_of(worst_));
    }
  }

 private:
  const Args& args_;
  uint64_t* keys_;
  int64_t capacity_;
  int64_t count_ = 0;
  uint64_t worst_ = ~uint64_t{0};  // the others are not among the top_k
  Bars bars_;
};

// Finds the candidates among elements [begin, end) of a level, cell * num_classes + class.
template <class Logit>
void find_candidates(const Args& args, const Logit* logits, const float* centerness_logits, int64_t begin, int64_t end,
                     BandList& list) {
  constexpr int lanes = kLanes<float>;
  int64_t known_cell = -1;
  float centerness = 0;
  for (int64_t first = begin; first < end; first += lanes) {
    const int64_t here = std::min<int64_t>(lanes, end - first);
    const FloatVector x = here == lanes ? load<float>(logits + first) : load_first<float>(logits + first, here);
    if (!any(x >= list.bars().logit)) {
      continue;
    }
    const FloatVector near = sigmoid(x);  // a preselection: the scalar sigmoid has other last bits
    for (int lane = 0; lane < here; ++lane) {
      if (!(x[lane] >= list.bars().logit)) {
        continue;
      }
      const int64_t cell = (first + lane) / args.num_classes;
      if (cell != known_cell) {
        known_cell = cell;
        centerness = sigmoid(centerness_logits[cell]);
      }
      float score;
      if (near[lane] >= list.bars().class_score && near[lane] * centerness >= list.bars().product &&
          is_candidate(args, sigmoid(x[lane]), centerness, &score)) {
        list.add(score, first + lane);
      }
    }
  }
}

}  // namespace

void collect(const Args& args, const Lists& lists, int64_t begin, int64_t end) {
  with_element_type(args.logits_type, [&](auto logit) {
    using Logit = decltype(logit);
    if constexpr (!std::is_same_v<Logit, uint8_t> && !std::is_same_v<Logit, double>) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / args.bands;
        const int64_t band = task % args.bands;
        const Level& level = args.levels[level_of_band(args, band)];
        const int64_t first_cell = (band - level.first_band) * args.band_cells;
        const int64_t end_cell = std::min(first_cell + args.band_cells, level.cells);
        const int64_t location = image * args.num_locations + level.first_location;
        BandList list(args, lists.keys + task * lists.band_capacity, lists.band_capacity);
        find_candidates(args, static_cast<const Logit*>(args.class_logits) + location * args.num_classes,
                        args.centerness_logits + location, first_cell * args.num_classes, end_cell * args.num_classes,
                        list);
        lists.counts[task] = list.count();
      }
    }
  });
}

void select(const Args& args, const Lists& lists, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    const Level& level = args.levels[task % args.num_levels];
    if (level.bands == 0) {
      continue;
    }
    const int64_t first_band = task / args.num_levels * args.bands + level.first_band;
    uint64_t* keys = lists.keys + first_band * lists.band_capacity;
    int64_t count = 0;
    for (int64_t band = first_band; band < first_band + level.bands; ++band) {
      const uint64_t* from = lists.keys + band * lists.band_capacity;
      std::memmove(keys + count, from, static_cast<size_t>(lists.counts[band]) * sizeof(uint64_t));
      count += lists.counts[band];
    }
    if (count > args.top_k) {
      std::nth_element(keys, keys + args.top_k - 1, keys + count, Better{});
      count = args.top_k;
    }
    std::sort(keys, keys + count, LowerIndex{});
    lists.counts[first_band] = count;
  }
}

void write(const Args& args, const Lists& lists, int64_t begin, int64_t end) {
  for (int64_t image = begin; image < end; ++image) {
    int64_t place = 0;
    for (int i = 0; i < args.num_levels; ++i) {
      const Level& level = args.levels[i];
      const int64_t first_band = image * args.bands + level.first_band;
      const int64_t count = level.bands == 0 ? 0 : lists.counts[first_band];
      for (int64_t j = 0; j < count; ++j) {
        write_candidate(args, image, level, lists.keys[first_band * lists.band_capacity + j], place++);
      }
    }
    args.counts[image] = place;
    for (; place < args.places; ++place) {
      write_free(args, image, place);
    }
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::decode_detections
