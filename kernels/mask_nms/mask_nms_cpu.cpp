#include "mask_nms_cpu.h"

#include <algorithm>

#include "../mask_pairs/mask_pairs_cpu.h"

namespace condinst::mask_nms {
namespace CONDINST_ISA {
namespace {

using mask_pairs::Summary;
using mask_pairs::CONDINST_ISA::intersection;

// Whether one of the survivors [first, last) removes the candidate.
bool is_removed(const Args& args, const int32_t* first, const int32_t* last, int32_t candidate) {
  const Summary& own = args.masks.summaries[candidate];
  return std::any_of(first, last, [&](int32_t survivor) {
    const Summary& other = args.masks.summaries[survivor];
    return may_exceed(args.iou_threshold, own, other) &&
           iou(intersection(args.masks, survivor, candidate), own, other) > args.iou_threshold;
  });
}

}  // namespace

void summarize(const Args& args, int64_t begin, int64_t end) {
  mask_pairs::CONDINST_ISA::summarize_masks(args.masks, begin, end);
}

void test_round(const Args& args, const suppression::Sorted& sorted, const Scratch& scratch, const Group& group,
                int64_t begin, int64_t end) {
  const int32_t* survivors = scratch.survivors + group.begin;
  for (int64_t place = begin; place < end; ++place) {
    scratch.removed[place] =
        is_removed(args, survivors, survivors + group.num_survivors, sorted.grouped[place]) ? 1 : 0;
  }
}

void settle_round(const Args& args, const suppression::Sorted& sorted, const Scratch& scratch, Group& group,
                  int64_t begin, int64_t end) {
  int32_t* survivors = scratch.survivors + group.begin;
  const int32_t* of_round = survivors + group.num_survivors;
  for (int64_t place = begin; place < end; ++place) {
    const int32_t candidate = sorted.grouped[place];
    if (scratch.removed[place] == 0 &&
        !is_removed(args, of_round, survivors + group.num_survivors, candidate)) {
      survivors[group.num_survivors++] = candidate;
      sorted.kept[candidate] = 1;
    }
  }
}

void settle_small_groups(const Args& args, const suppression::Sorted& sorted, const Scratch& scratch, int64_t begin,
                         int64_t end) {
  for (int64_t index = begin; index < end; ++index) {
    Group group{sorted.group_starts[index], sorted.group_starts[index + 1], 0};
    if (group.end - group.begin < kLargeGroup) {
      std::fill(scratch.removed + group.begin, scratch.removed + group.end, uint8_t{0});
      settle_round(args, sorted, scratch, group, group.begin, group.end);
    }
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::mask_nms
