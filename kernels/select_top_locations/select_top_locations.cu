#include "../common/cuda_launch.h"
#include "../common/cuda_numeric.h"
#include "select_top_locations_cuda.h"

namespace condinst::select_top_locations::cuda {
namespace {

constexpr int kThreads = 1024;

// atomicAdd has no int64_t; in two's complement the bits are the same.
__device__ __forceinline__ int64_t add(int64_t* to, int64_t value) {
  return static_cast<int64_t>(
      atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value)));
}

// One block per image. Atomics decide the positions and the order of the keys of an object, but not which keys are the
// largest.
template <class Class>
__global__ void __launch_bounds__(kThreads) select_in_image(Args args) {
  __shared__ int64_t positives, matched;
  const int64_t image = blockIdx.x;
  const Class* class_logits =
      static_cast<const Class*>(args.class_logits) + image * args.num_locations * args.num_classes;
  const float* centerness_logits = args.centerness_logits + image * args.num_locations;
  const int64_t* objects = args.object_indices + image * args.num_locations;
  int64_t* counts = args.counts + image * args.num_objects;
  int64_t* starts = args.starts + image * args.num_objects;
  uint64_t* keys = args.keys + image * args.num_locations;
  bool* selected = args.selected + image * args.num_locations;

  for (int64_t object = threadIdx.x; object < args.num_objects; object += kThreads) {
    counts[object] = 0;
  }
  if (threadIdx.x == 0) {
    positives = matched = 0;
  }
  __syncthreads();
  for (int64_t location = threadIdx.x; location < args.num_locations; location += kThreads) {
    selected[location] = false;
    if (is_positive(args, objects[location])) {
      add(&counts[objects[location]], 1);
    }
  }
  __syncthreads();
  for (int64_t object = threadIdx.x; object < args.num_objects; object += kThreads) {
    if (counts[object] > 0) {
      starts[object] = add(&positives, counts[object]);
      add(&matched, 1);
      counts[object] = 0;
    }
  }
  __syncthreads();
  for (int64_t location = threadIdx.x; location < args.num_locations; location += kThreads) {
    const int64_t object = objects[location];
    if (is_positive(args, object)) {
      const Class* logits = class_logits + location * args.num_classes;
      float best = widen<float>(logits[0]);
#pragma unroll 8
      for (int64_t i = 1; i < args.num_classes; ++i) {
        const float value = widen<float>(logits[i]);
        best = exceeds(value, best) ? value : best;
      }
      keys[starts[object] + add(&counts[object], 1)] = key_of(best, centerness_logits[location], location);
    }
  }
  __syncthreads();
  const int64_t quota = quota_of(args, matched);
  for (int64_t i = threadIdx.x; i < positives; i += kThreads) {
    const uint64_t key = keys[i];
    const int64_t location = location_of(key);
    const int64_t object = objects[location];
    const uint64_t* own = keys + starts[object];
    int64_t better = 0;
    for (int64_t other = 0; other < counts[object]; ++other) {
      better += own[other] > key;
    }
    selected[location] = better < quota;
  }
}

}  // namespace

void select(const Args& args, void* stream) {
  if (args.num_images * args.num_locations == 0) {
    return;
  }
  with_class_type(args, [&](auto class_value) {
    launch("select_top_locations select_in_image", select_in_image<decltype(class_value)>, grid_size(args.num_images),
           kThreads, 0, stream, args);
  });
}

}  // namespace condinst::select_top_locations::cuda
