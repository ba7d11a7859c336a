// Suppression on the CPU, except the test of a pair: sort, then groups (greedy_cpu.h) on any threads in any order, then the
// best of each image.
#pragma once

#include "../common/cpu_isa.h"
#include "suppression.h"

namespace condinst::suppression {

// Scratch memory; arrays without a size have num_candidates elements.
struct Sorted {
  int32_t* by_score;      // candidates by falling score, of equal scores the lower index first
  int32_t* grouped;       // the same candidates by image and label, and in each such group in the order of by_score
  int32_t* spare;
  int64_t* group_starts;  // [num_candidates + 1] places in `grouped`, and the number of candidates after the last group
  uint8_t* kept;          // by candidate: whether it survives; 0 before suppression
  int64_t num_groups;
  int64_t num_sorted;     // candidates, without padding and NaN
};

CONDINST_FOR_EACH_ISA(
    // Fills all of `sorted`.
    void sort_candidates(const Args& args, Sorted& sorted);
    // Computes indices and counts from `kept`.
    void write_best(const Args& args, const Sorted& sorted);)

}  // namespace condinst::suppression
