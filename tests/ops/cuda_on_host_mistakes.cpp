// Makes the mistake that its argument names in a kernel on the host, and prints the message about it. Then launches a
// correct kernel.
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

#include "../../kernels/common/cuda_launch.h"
#include "../../kernels/common/cuda_reduce.h"

namespace {

constexpr unsigned kAll = 0xffffffffu;
float result[128];

__global__ void right(int* wrong) {
  float values[2] = {1, static_cast<float>(threadIdx.x)};
  condinst::block_sum<64>(values);
  if (threadIdx.x == 0 && (values[0] != 64 || values[1] != 63 * 32)) {
    ++*wrong;
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  int errors = __shfl_sync(kAll, lane, 5) != 5;
  errors += __shfl_sync(kAll, lane, 3, 8) != lane / 8 * 8 + 3;
  errors += __shfl_down_sync(kAll, lane, 4) != (lane < 28 ? lane + 4 : lane);
  errors += __shfl_up_sync(kAll, lane, 4, 16) != (lane % 16 < 4 ? lane : lane - 4);
  errors += __shfl_xor_sync(kAll, lane, 16) != (lane ^ 16);
  errors += __ballot_sync(kAll, lane % 2) != 0xaaaaaaaau;
  errors += __any_sync(kAll, lane == 7) != 1 || __all_sync(kAll, lane == 7) != 0;
  if (lane < 16) {  // a part of the warp
    errors += __shfl_xor_sync(0xffffu, lane, 1) != (lane ^ 1);
  }
  atomicAdd(wrong, errors);
}

__global__ void leave() {
  if (threadIdx.x != 7) {
    __syncthreads();
  }
}

__global__ void half_a_warp() {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else if (threadIdx.x >= 32) {
    __syncthreads();
  }
}

__global__ void two_masks() {
  if (threadIdx.x % 32 != 31) {
    __shfl_xor_sync(threadIdx.x % 2 == 0 ? kAll : 0x7fffffffu, 1, 1);
  }
}

__global__ void not_in_mask() { __syncwarp(1); }

__global__ void small_block() { __syncwarp(); }

__global__ void foreign_lane() {
  if (threadIdx.x < 2) {
    __shfl_sync(3, 1, 2);
  }
}

__global__ void write_shared(int at) { condinst::dynamic_shared<float>()[at] = 1; }

__global__ void do_nothing() {}

__global__ void unwritten_static() {
  __shared__ float values[128];
  result[threadIdx.x] = values[threadIdx.x];
  values[threadIdx.x] = 1;  // undefined in the next block
}

__global__ void unwritten_dynamic() {
  float* values = condinst::dynamic_shared<float>();
  result[threadIdx.x] = values[threadIdx.x];
  values[threadIdx.x] = 1;
}

__global__ void missing_barrier() {
  __shared__ float values[64];
  values[threadIdx.x] = 1;
  result[threadIdx.x] = values[63 - threadIdx.x];
}

template <class... Params, class... Args>
void launch(const char* name, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared, Args... args) {
  condinst::launch(name, kernel, grid, block, shared, nullptr, args...);
}

void launch_right() {
  int wrong = 0;
  for (int i = 0; i < 2; ++i) {
    launch("right", right, dim3(3, 2), 64, 0, &wrong);
  }
  std::puts(wrong == 0 ? "right" : "wrong");
}

void launch_missing_barrier() {
  std::string seen[2];
  for (std::string& order : seen) {
    launch("missing_barrier", missing_barrier, 1, 64, 0);
    for (int thread = 0; thread < 64; ++thread) {
      order += std::isnan(result[thread]) ? 'n' : '1';
    }
  }
  std::puts(seen[0] == seen[1] ? "the same" : "differs");
}

void print_result() { std::printf("%f\n", static_cast<double>(result[3])); }

const std::map<std::string, void (*)()> kMistakes = {
    {"nothing", launch_right},
    {"leave", [] { launch("leave", leave, 1, 64, 0); }},
    {"half_a_warp", [] { launch("half_a_warp", half_a_warp, 1, 64, 0); }},
    {"two_masks", [] { launch("two_masks", two_masks, 1, 64, 0); }},
    {"not_in_mask", [] { launch("not_in_mask", not_in_mask, 1, 64, 0); }},
    {"small_block", [] { launch("small_block", small_block, 1, 16, 0); }},
    {"foreign_lane", [] { launch("foreign_lane", foreign_lane, 1, 64, 0); }},
    {"beyond_shared", [] { launch("beyond_shared", write_shared, 1, 1, 40, 10); }},
    {"before_shared", [] { launch("before_shared", write_shared, 1, 1, 40, -1); }},
    {"too_many_threads", [] { launch("too_many_threads", do_nothing, 1, 1025, 0); }},
    {"no_blocks", [] { launch("no_blocks", do_nothing, 0, 1, 0); }},
    {"too_much_shared", [] { launch("too_much_shared", do_nothing, 1, 1, 200 * 1024); }},
    {"unwritten_static", [] { launch("unwritten_static", unwritten_static, 2, 128, 0), print_result(); }},
    {"unwritten_dynamic", [] { launch("unwritten_dynamic", unwritten_dynamic, 2, 128, 512), print_result(); }},
    {"missing_barrier", launch_missing_barrier},
};

}  // namespace

int main(int, char** arguments) {
  try {
    kMistakes.at(arguments[1])();
  } catch (const std::runtime_error& error) {
    std::puts(error.what());
  }
  std::printf("then: ");
  launch_right();
}
