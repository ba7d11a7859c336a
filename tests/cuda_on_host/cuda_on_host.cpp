// longjmp between stacks is what this file is about; its checked version refuses that.
#undef _FORTIFY_SOURCE

#include "cuda_on_host.h"

#include <csetjmp>
#include <link.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../kernels/common/simd.h"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace condinst::cuda_on_host {
namespace {

constexpr size_t kStackBytes = 256 * 1024;  // address space; only what is touched takes memory
constexpr size_t kPageBytes = 4096;
constexpr size_t kCanaryBytes = 1024;
constexpr int kPoison = 0xff;  // NaN in every floating type

// What the smallest of the default architectures, sm_80, takes.
constexpr unsigned kMaxThreads = 1024;
constexpr size_t kMaxSharedBytes = 163 * 1024;

enum class State { ready, at_barrier, at_warp_operation, left };

struct Fiber {
  uint3 index;
  State state;
  bool entered = false;  // false: starts at fiber_main
  jmp_buf context;
  char* stack = nullptr;
};

struct Warp {
  unsigned lanes;               // as bits
  uint64_t values[warpSize];    // what the lanes have put down
  unsigned wanted[warpSize];    // of the group whose lowest lane this is: its mask, 0 when nobody waits
  unsigned arrived[warpSize];   // and the lanes that wait
};

// One launch at a time holds the mutex, and with it everything below.
std::mutex mutex;
std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<char> shared;
const std::function<void()>* kernel = nullptr;
std::string failure;
size_t threads = 0;
size_t waiting = 0;  // at the barrier
size_t current = 0;
jmp_buf scheduler;
bool reverse = false;

Warp& warp() { return warps[current / warpSize]; }

void yield() {
  if (_setjmp(fibers[current].context) == 0) {
    _longjmp(scheduler, 1);
  }
}

void wait(State state) {
  fibers[current].state = state;
  yield();
}

void fiber_main() {
  for (;;) {
    (*kernel)();
    wait(State::left);
  }
}

void enter(Fiber& fiber) {
  if (fiber.stack == nullptr) {
    void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, kPageBytes, PROT_NONE) != 0) {
      throw std::runtime_error("CUDA on host: no memory for the stack of a thread");
    }
    fiber.stack = static_cast<char*>(stack);
  }
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  // Not all at the same place of a page, which would crowd them into a few sets of the cache.
  context.uc_stack.ss_size = kStackBytes - current % 64 * 192;
  context.uc_link = nullptr;
  makecontext(&context, fiber_main, 0);
  fiber.entered = true;
  if (_setjmp(scheduler) == 0) {
    setcontext(&context);
  }
}

void resume(Fiber& fiber) {
  threadIdx = fiber.index;
  if (!fiber.entered) {
    enter(fiber);
  } else if (_setjmp(scheduler) == 0) {
    _longjmp(fiber.context, 1);
  }
}

// A byte in the thread-local segment of this library, which makes sure that the segment exists.
thread_local char in_segment_of_shared_arrays = 0;

// The static shared arrays of the launching OS thread.
char* shared_arrays = nullptr;
size_t shared_arrays_bytes = 0;

int find_own_segment(dl_phdr_info* library, size_t, void*) {
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    const auto& header = library->dlpi_phdr[i];
    char* segment = static_cast<char*>(library->dlpi_tls_data);
    if (header.p_type == PT_TLS && segment != nullptr && &in_segment_of_shared_arrays >= segment &&
        &in_segment_of_shared_arrays < segment + header.p_memsz) {
      shared_arrays = segment;
      shared_arrays_bytes = header.p_memsz;
      return 1;
    }
  }
  return 0;
}

void find_shared_arrays() {
  in_segment_of_shared_arrays = 0;
  if (dl_iterate_phdr(find_own_segment, nullptr) == 0) {
    throw std::logic_error("the static shared arrays have no thread-local segment");
  }
}

void poison_shared_memory(size_t shared_bytes) {
  std::memset(shared_arrays, kPoison, shared_arrays_bytes);
  shared.assign(shared_bytes + 2 * kCanaryBytes, static_cast<char>(kPoison));
}

bool canaries_are_alive(size_t shared_bytes) {
  const auto is_poison = [](char byte) { return byte == static_cast<char>(kPoison); };
  return std::all_of(shared.begin(), shared.begin() + kCanaryBytes, is_poison) &&
         std::all_of(shared.begin() + static_cast<std::ptrdiff_t>(kCanaryBytes + shared_bytes), shared.end(), is_poison);
}

void start_threads() {
  for (size_t thread = 0; thread < threads; ++thread) {
    const auto linear = static_cast<unsigned>(thread);
    fibers[thread].index = {linear % blockDim.x, linear / blockDim.x % blockDim.y, linear / blockDim.x / blockDim.y};
    fibers[thread].state = State::ready;
  }
  for (size_t first = 0; first < threads; first += warpSize) {
    Warp& warp = warps[first / warpSize];
    warp = {};
    warp.lanes = threads - first >= warpSize ? 0xffffffffu : (1u << (threads - first)) - 1;
  }
  waiting = 0;
}

size_t count(State state) {
  return static_cast<size_t>(std::count_if(fibers.begin(), fibers.begin() + static_cast<std::ptrdiff_t>(threads),
                                           [&](const Fiber& fiber) { return fiber.state == state; }));
}

// Runs the threads of one block until all have left; a mistake ends up in `failure`.
void run_threads() {
  start_threads();
  for (bool progress = true; progress;) {
    progress = false;
    for (size_t i = 0; i < threads && failure.empty(); ++i) {
      current = reverse ? threads - 1 - i : i;
      if (fibers[current].state == State::ready) {
        progress = true;
        resume(fibers[current]);
      }
    }
  }
  if (failure.empty() && count(State::left) != threads) {
    failure = "the threads do not meet: " + std::to_string(count(State::at_barrier)) + " wait at __syncthreads, " +
              std::to_string(count(State::at_warp_operation)) + " in warp operations, " +
              std::to_string(count(State::left)) + " have left";
  }
}

std::string text(uint3 at) {
  return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}

void check_launch(dim3 grid, dim3 block, size_t shared_bytes) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) {
    throw std::runtime_error("invalid grid " + text({grid.x, grid.y, grid.z}));
  }
  const uint64_t size = uint64_t{block.x} * block.y * block.z;
  if (size == 0 || size > kMaxThreads || block.z > 64) {
    throw std::runtime_error("invalid block " + text({block.x, block.y, block.z}));
  }
  if (shared_bytes > kMaxSharedBytes) {
    throw std::runtime_error(std::to_string(shared_bytes) + " bytes of shared memory are more than sm_80 has");
  }
}

void run_block(size_t shared_bytes) {
  poison_shared_memory(shared_bytes);
  run_threads();
  if (failure.empty() && !canaries_are_alive(shared_bytes)) {
    failure = "write outside of the dynamic shared memory";
  }
  if (!failure.empty()) {
    for (Fiber& fiber : fibers) {
      fiber.entered = false;  // whatever they were at, they start afresh
    }
    throw std::runtime_error("block " + text(blockIdx) + ": " + failure);
  }
}

void run_grid(dim3 grid, dim3 block, size_t shared_bytes) {
  check_launch(grid, block, shared_bytes);
  gridDim = grid;
  blockDim = block;
  threads = size_t{block.x} * block.y * block.z;
  if (fibers.size() < threads) {
    fibers.resize(threads);
  }
  warps.resize((threads + warpSize - 1) / warpSize);
  find_shared_arrays();
  failure.clear();
  reverse = !reverse;
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  for (uint64_t i = 0; i < blocks; ++i) {
    const uint64_t linear = reverse ? blocks - 1 - i : i;
    blockIdx = {static_cast<unsigned>(linear % grid.x), static_cast<unsigned>(linear / grid.x % grid.y),
                static_cast<unsigned>(linear / grid.x / grid.y)};
    run_block(shared_bytes);
  }
}

}  // namespace

void run(const char* name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  const std::lock_guard<std::mutex> lock(mutex);
  kernel = &body;
  try {
    run_grid(grid, block, shared_bytes);
  } catch (const std::exception& error) {
    throw std::runtime_error(std::string("CUDA on host, kernel ") + name + ": " + error.what());
  }
}

void* dynamic_shared() {
  static_assert(kCanaryBytes % 128 == 0, "keeps the alignment");
  return shared.data() + kCanaryBytes;
}

void sync_threads() {
  if (++waiting < threads) {
    wait(State::at_barrier);
    return;
  }
  waiting = 0;
  for (size_t thread = 0; thread < threads; ++thread) {
    fibers[thread].state = State::ready;
  }
}

int lane() { return static_cast<int>(current % warpSize); }

void put(uint64_t bits) { warp().values[lane()] = bits; }

uint64_t get(int lane) { return warp().values[lane]; }

void sync_warp(uint32_t mask) {
  Warp& here = warp();
  const unsigned self = 1u << lane();
  if ((mask & self) == 0) {
    fail("a lane calls a warp operation whose mask does not hold it");
  }
  if ((mask & ~here.lanes) != 0) {
    fail("the mask of a warp operation holds lanes that the block does not have");
  }
  const int group = __builtin_ctz(mask);
  if (here.arrived[group] != 0 && here.wanted[group] != mask) {
    fail("lanes of one warp operation have different masks");
  }
  here.wanted[group] = mask;
  here.arrived[group] |= self;
  if (here.arrived[group] != mask) {
    wait(State::at_warp_operation);
    return;
  }
  here.arrived[group] = 0;
  for (size_t thread = current / warpSize * warpSize; mask != 0; ++thread, mask >>= 1) {
    if ((mask & 1) != 0) {
      fibers[thread].state = State::ready;
    }
  }
}

void fail(const char* message) {
  failure = message;
  for (;;) {
    yield();  // for good: the scheduler throws
  }
}

}  // namespace condinst::cuda_on_host

// Of the vectors' first lane: one place knows the formats.
using condinst::BFloat16;
using condinst::Half;
using condinst::CONDINST_ISA::FloatVector;
using condinst::CONDINST_ISA::load_first;
using condinst::CONDINST_ISA::store_first;

float __half2float(__half value) {
  const Half bits{value.bits};
  return load_first<float>(&bits, 1)[0];
}

__half __float2half_rn(float value) {
  Half bits;
  store_first<Half, float>(&bits, FloatVector{value}, 1);
  return {bits.bits};
}

float __bfloat162float(__nv_bfloat16 value) {
  const BFloat16 bits{value.bits};
  return load_first<float>(&bits, 1)[0];
}

__nv_bfloat16 __float2bfloat16_rn(float value) {
  BFloat16 bits;
  store_first<BFloat16, float>(&bits, FloatVector{value}, 1);
  return {bits.bits};
}
