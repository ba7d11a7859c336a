// As much of CUDA C++ as the kernels use, for an ordinary C++ compiler: the very .cu files that nvcc compiles run on the
// CPU, so that they are tested where there is no GPU. For tests alone; no wheel holds it.
//
// Blocks run one after another. The threads of a block are fibers that meet at barriers and in warp operations. What CUDA
// leaves undefined is an error here where that is cheap to see: threads that leave while others wait, lanes that are
// named in a mask but do not come, launches that no GPU takes, writes past dynamic shared memory. Shared memory is NaN
// (all bits set) at the start of every block, and every other launch runs blocks and threads in reverse order, so that a
// missing barrier shows as a result that changes from run to run.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// One copy for the OS thread that runs the block. Being thread-local also puts all of them into one segment, which is how
// the shim poisons them; a section attribute does not do, as GCC ignores it in templates.
#define __shared__ thread_local

// ---- Built-in types and variables

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

extern uint3 threadIdx;  // of the fiber that runs
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
constexpr int warpSize = 32;

// ---- The runtime: nothing is asynchronous, so there is one stream and there are no late errors

using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;

static inline const char* cudaGetErrorString(cudaError_t) { return "unknown error"; }

static inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

namespace condinst::cuda_on_host {

// Runs `kernel` once for every thread of the grid. Throws std::runtime_error, which names the kernel, for a mistake.
void run(const char* name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);

// The dynamic shared memory of the block.
void* dynamic_shared();

void sync_threads();

// Waits for all lanes of the mask, which must hold the lane itself.
void sync_warp(uint32_t mask);

// Between two sync_warp: what each lane of this warp has put down.
void put(uint64_t bits);
uint64_t get(int lane);

int lane();

// Ends the launch with this message.
[[noreturn]] void fail(const char* message);

template <class T>
static inline T exchange(uint32_t mask, T value, int source) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "as many bits as a shuffle takes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  put(bits);
  sync_warp(mask);
  if ((mask >> source & 1) == 0) {
    fail("a shuffle reads a lane that is not in its mask");
  }
  bits = get(source);
  sync_warp(mask);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// The lane that holds index `to` of this lane's segment, or this lane where `to` is not in the segment.
static inline int in_segment(int to, int width) {
  const int first = lane() / width * width;
  return to >= 0 && to < width ? first + to : lane();
}

}  // namespace condinst::cuda_on_host

// ---- Barriers, warp operations, atomics

static inline void __syncthreads() { condinst::cuda_on_host::sync_threads(); }

static inline void __syncwarp(unsigned mask = 0xffffffffu) { condinst::cuda_on_host::sync_warp(mask); }

template <class T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = warpSize) {
  using namespace condinst::cuda_on_host;
  return exchange(mask, value, in_segment(source & (width - 1), width));
}

template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize) {
  using namespace condinst::cuda_on_host;
  return exchange(mask, value, in_segment(lane() % width ^ lanes, width));
}

template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  using namespace condinst::cuda_on_host;
  return exchange(mask, value, in_segment(lane() % width + static_cast<int>(delta), width));
}

template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  using namespace condinst::cuda_on_host;
  return exchange(mask, value, in_segment(lane() % width - static_cast<int>(delta), width));
}

static inline unsigned __ballot_sync(unsigned mask, int predicate) {
  using namespace condinst::cuda_on_host;
  put(predicate != 0);
  sync_warp(mask);
  unsigned lanes = 0;
  for (int other = 0; other < warpSize; ++other) {
    lanes |= (mask >> other & 1) != 0 && get(other) != 0 ? 1u << other : 0u;
  }
  sync_warp(mask);
  return lanes;
}

static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

// Fibers give way at barriers only, so this is atomic.
template <class T>
static inline T atomicAdd(T* to, T value) {
  const T before = *to;
  *to = before + value;
  return before;
}

static inline void __threadfence() {}

// ---- Arithmetic

using std::max;
using std::min;

template <class T>
static inline T __ldg(const T* from) {
  return *from;
}

// Macros, because the C library has functions of these names.
#define __expf expf
#define __logf logf
#define __powf powf

static inline float __fdividef(float x, float y) { return x / y; }
static inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }

// ---- Half precision: the bits, and conversions that round to nearest even

struct __half {
  uint16_t bits;
};
struct __nv_bfloat16 {
  uint16_t bits;
};

static inline __half __ushort_as_half(uint16_t bits) { return {bits}; }
static inline uint16_t __half_as_ushort(__half value) { return value.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(uint16_t bits) { return {bits}; }
static inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }

float __half2float(__half value);
__half __float2half_rn(float value);
float __bfloat162float(__nv_bfloat16 value);
__nv_bfloat16 __float2bfloat16_rn(float value);
