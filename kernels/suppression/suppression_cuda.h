// Suppression on CUDA, but for the test of a pair, as functions that launch kernels on a stream (a cudaStream_t of the current
// device) and return at once: sort_candidates, then groups (greedy_cuda.h), then write_best. They throw
// std::runtime_error when CUDA does not take a launch.
#pragma once

#include "suppression.h"

namespace condinst::suppression::cuda {

// Sorted by its members, the first one first. No two are equal.
struct Key {
  uint64_t image;            // kNoCandidate for padding and NaN, which so come last
  uint64_t label;
  uint64_t score_and_index;  // falling(score), then the candidate
};

constexpr uint64_t kNoCandidate = ~uint64_t{0};

// Scratch, of num_candidates elements where nothing else is said.
struct Sorted {
  Key* keys;            // by image, label, falling score and index
  Key* spare;
  uint8_t* removed;     // by place in `keys`: whether a better one that stays removes it; 0 before the groups are done
  int32_t* groups;      // places in `keys` where groups start, in any order
  int32_t* num_groups;  // [1]
};

// Fills all of `sorted`.
void sort_candidates(const Args& args, Sorted& sorted, void* stream);

// From `removed` to indices and counts. Overwrites the keys.
void write_best(const Args& args, Sorted& sorted, void* stream);

}  // namespace condinst::suppression::cuda
