#include "../common/cuda_launch.h"
#include "../suppression/greedy_cuda.h"
#include "nms_cuda.h"

namespace condinst::nms::cuda {
namespace {

struct Boxes {
  struct Item {
    float x1, y1, x2, y2, area;
  };
  Args args;

  __device__ Item load(int64_t candidate) const {
    const auto box = load_pack<4>(args.boxes + 4 * candidate);
    const float x1 = box.values[0], y1 = box.values[1], x2 = box.values[2], y2 = box.values[3];
    return {x1, y1, x2, y2, (x2 - x1) * (y2 - y1)};
  }

  // NaN in a corner makes the area NaN, for which all comparisons are false.
  __device__ bool suppresses(const Item& better, const Item& other) const {
    const float width = min(better.x2, other.x2) - max(better.x1, other.x1);
    const float height = min(better.y2, other.y2) - max(better.y1, other.y1);
    const float overlap = max(width, 0.0f) * max(height, 0.0f);
    // most boxes do not overlap, so the division is skipped
    return overlap > 0.0f && iou(overlap, better.area, other.area) > args.iou_threshold;
  }
};

}  // namespace

void suppress(const Args& args, const suppression::cuda::Sorted& sorted, int64_t count, void* stream) {
  suppression::cuda::launch_suppress_groups("nms suppress_groups", sorted, count, Boxes{args}, stream);
}

}  // namespace condinst::nms::cuda
