#include "nms_cpu.h"

#include <limits>

#include "../common/simd_compare.h"
#include "../common/simd_math.h"
#include "../suppression/greedy_cpu.h"

namespace condinst::nms {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

constexpr int kWidth = kLanes<float>;
static_assert(kWidth <= kMaxLanes, "scratch is large enough");

// The surviving boxes of a group, in blocks of `kWidth` boxes. Free places contain NaN, which overlaps no box.
class Survivors {
 public:
  Survivors(const Args& args, float* scratch) : args_(args), scratch_(scratch) {}

  void start(int64_t group, int64_t place) {
    // rounded down, plus a block per earlier group, so that no two groups share a block
    blocks_ = scratch_ + (place / kWidth + group) * kBlock;
    count_ = 0;
  }

  bool suppress(int32_t candidate) {
    const float* box = args_.boxes + 4 * static_cast<int64_t>(candidate);
    std::memcpy(box_, box, sizeof(float) * 4);
    box_[4] = (box_[2] - box_[0]) * (box_[3] - box_[1]);
    const FloatVector zero = {};
    const FloatVector x1 = zero + box_[0], y1 = zero + box_[1], x2 = zero + box_[2], y2 = zero + box_[3];
    for (const float* block = blocks_; block < blocks_ + (count_ + kWidth - 1) / kWidth * kBlock; block += kBlock) {
      const FloatVector width = at_most(x2, load<float>(block + 2 * kWidth)) - at_least(x1, load<float>(block));
      const FloatVector height =
          at_most(y2, load<float>(block + 3 * kWidth)) - at_least(y1, load<float>(block + kWidth));
      const FloatVector overlap = at_least(zero, width) * at_least(zero, height);
      // most boxes do not overlap, so the division is skipped
      if (any(overlap > 0) && any(iou(overlap, load<float>(block + 4 * kWidth), zero + box_[4]) > args_.iou_threshold)) {
        return true;
      }
    }
    return false;
  }

  void add(int32_t) {
    float* block = blocks_ + count_ / kWidth * kBlock;
    const int64_t lane = count_ % kWidth;
    if (lane == 0) {
      for (int64_t i = 0; i < kBlock; ++i) {
        block[i] = std::numeric_limits<float>::quiet_NaN();
      }
    }
    for (int i = 0; i < 5; ++i) {
      block[i * kWidth + lane] = box_[i];
    }
    ++count_;
  }

 private:
  static constexpr int64_t kBlock = 5 * kWidth;  // x1, y1, x2, y2, area

  const Args& args_;
  float* scratch_;
  float* blocks_ = nullptr;
  int64_t count_ = 0;
  float box_[5] = {};  // of the last candidate
};

}  // namespace

void suppress(const Args& args, const suppression::Sorted& sorted, float* scratch, int64_t begin, int64_t end) {
  suppress_groups(sorted, Survivors(args, scratch), begin, end);
}

}  // namespace CONDINST_ISA
}  // namespace condinst::nms
