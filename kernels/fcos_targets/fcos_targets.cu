#include "../common/cuda_launch.h"
#include "fcos_targets_cuda.h"

namespace condinst::fcos_targets::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 128;  // objects in shared memory

// One block per kThreads locations of an image, one thread per location. A block loads the objects of all images into
// shared memory, and skips objects of other images after one comparison.
__global__ void __launch_bounds__(kThreads) fill_targets(Args args, int64_t blocks_per_image) {
  __shared__ Object objects[kTile];
  __shared__ int64_t images[kTile];
  const int64_t image = blockIdx.x / blocks_per_image;
  const int64_t location = (blockIdx.x - image * blocks_per_image) * kThreads + threadIdx.x;
  const bool exists = location < args.num_locations;

  int which = 0;
  while (which + 1 < args.num_levels && location >= args.levels[which + 1].first) {
    ++which;
  }
  const Level level = args.levels[which];
  const int64_t cell = location - level.first;
  const int64_t row = exists ? cell / level.width : 0;
  const float x = position_of(level, cell - row * level.width);
  const float y = position_of(level, row);

  float smallest = INFINITY;
  int64_t owner = -1;
  for (int64_t first = 0; first < args.num_objects; first += kTile) {
    const int64_t rest = args.num_objects - first;
    const int count = static_cast<int>(rest < kTile ? rest : kTile);
    __syncthreads();  // all threads have read the previous tile
    if (static_cast<int>(threadIdx.x) < count) {
      objects[threadIdx.x] = object_of(args, first + threadIdx.x);
      images[threadIdx.x] = args.image_indices[first + threadIdx.x];
    }
    __syncthreads();
    for (int i = 0; i < count; ++i) {
      if (images[i] == image && objects[i].area < smallest && matches(objects[i], level, x, y)) {
        smallest = objects[i].area;
        owner = first + i;
      }
    }
  }

  if (!exists) {
    return;
  }
  const int64_t index = image * args.num_locations + location;
  if (owner >= 0) {
    write_target(args, index, level, owner, x, y);
  } else {
    args.location_labels[index] = args.num_classes;
    for (int side = 0; side < 4; ++side) {
      args.distances[4 * index + side] = 0;
    }
    args.centerness[index] = 0;
    args.object_indices[index] = -1;
  }
}

}  // namespace

void targets(const Args& args, void* stream) {
  const int64_t blocks_per_image = (args.num_locations + kThreads - 1) / kThreads;
  if (args.num_images * blocks_per_image == 0) {
    return;
  }
  launch("fcos_targets fill_targets", fill_targets, grid_size(args.num_images * blocks_per_image), kThreads, 0, stream,
         args, blocks_per_image);
}

}  // namespace condinst::fcos_targets::cuda
