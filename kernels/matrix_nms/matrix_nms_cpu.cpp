#include "matrix_nms_cpu.h"

#include <algorithm>

#include "../mask_pairs/mask_pairs_cpu.h"

namespace condinst::matrix_nms {
namespace CONDINST_ISA {
namespace {

using mask_pairs::CONDINST_ISA::intersection;

// The place of the best candidate of the group.
int64_t group_start(const suppression::Sorted& sorted, int64_t place) {
  return *(std::upper_bound(sorted.group_starts, sorted.group_starts + sorted.num_groups, place) - 1);
}

float* ious_of(const Pass& pass, int64_t column) { return pass.ious + (column - pass.begin) * pass.stride; }

void fill_tile(const Args& args, const suppression::Sorted& sorted, const Pass& pass, int64_t begin, int64_t end) {
  int64_t starts[kTile];
  for (int64_t column = begin; column < end; ++column) {
    starts[column - begin] = group_start(sorted, column);
    pass.highest[column] = 0;
  }
  for (int64_t row = starts[0]; row < end; ++row) {
    const int32_t better = sorted.grouped[row];
    for (int64_t column = std::max(begin, row + 1); column < end && starts[column - begin] <= row; ++column) {
      const int32_t candidate = sorted.grouped[column];
      const float iou = iou_or_zero(intersection(args.masks, better, candidate), args.masks.summaries[better],
                                    args.masks.summaries[candidate]);
      ious_of(pass, column)[row - starts[column - begin]] = iou;
      pass.highest[column] = std::max(pass.highest[column], iou);
    }
  }
}

}  // namespace

void summarize(const Args& args, int64_t begin, int64_t end) {
  mask_pairs::CONDINST_ISA::summarize_masks(args.masks, begin, end);
}

void columns(const Args& args, const suppression::Sorted& sorted, const Pass& pass, int64_t begin, int64_t end) {
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t first = pass.begin + tile * kTile;
    fill_tile(args, sorted, pass, first, std::min(first + kTile, pass.end));
  }
}

void factors(const Args& args, const suppression::Sorted& sorted, const Pass& pass, int64_t begin, int64_t end) {
  for (int64_t column = begin; column < end; ++column) {
    const int64_t start = group_start(sorted, column);
    const float* ious = ious_of(pass, column);
    float least = no_decay(args);
    for (int64_t row = start; row < column; ++row) {
      least = std::min(least, decay(args, ious[row - start], pass.highest[row]));
    }
    const int32_t candidate = sorted.grouped[column];
    args.decayed[candidate] = args.scores[candidate] * factor(args, least);
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::matrix_nms
