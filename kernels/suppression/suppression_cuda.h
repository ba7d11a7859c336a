// Suppression on CUDA, except the test of a pair, as functions that launch kernels on a stream (a cudaStream_t of the
// current device) and return at once: sort_candidates, then groups (greedy_cuda.h), then write_best. They throw
// std::runtime_error if CUDA rejects a launch.
#pragma once

#include "suppression.h"

namespace condinst::suppression::cuda {

// Sorted by its members in this order. No two keys are equal.
struct Key {
  uint64_t image;            // kNoCandidate for padding and NaN, which therefore come last
  uint64_t label;
  uint64_t score_and_index;  // falling(score), then the candidate
};

constexpr uint64_t kNoCandidate = ~uint64_t{0};

// Scratch memory; arrays without a size have num_candidates elements.
struct Sorted {
  Key* keys;            // by image, label, falling score and index
  Key* spare;
  uint8_t* removed;     // by place in `keys`: whether a better survivor removes it; 0 before suppression
  int32_t* groups;      // places in `keys` at which groups start, in any order
  int32_t* num_groups;  // [1]
};

// Fills all of `sorted`.
void sort_candidates(const Args& args, Sorted& sorted, void* stream);

// Computes indices and counts from `removed`. Overwrites the keys.
void write_best(const Args& args, Sorted& sorted, void* stream);

}  // namespace condinst::suppression::cuda
