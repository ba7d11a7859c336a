// Greedy suppression within groups, for any test of a pair.
#pragma once

#include "suppression_cpu.h"

namespace condinst {
namespace CONDINST_ISA {
namespace {

// Groups [begin, end): fills `kept`. A candidate is only tested against the earlier survivors, which can be adjacent in
// memory for vectors. Survivors has
//
//   void start(int64_t group, int64_t place)   a new group, whose first candidate is at `place` of Sorted::grouped
//   bool suppress(int32_t candidate)           whether a survivor of the group removes the candidate
//   void add(int32_t candidate)                adds the candidate of the last call of `suppress` to the survivors
//
// Several groups run at once on different threads, each with separate Survivors. They may write to [place, place + size of
// the group) of a shared array of num_candidates, but to no other shared memory.
template <class Survivors>
static inline void suppress_groups(const suppression::Sorted& sorted, Survivors survivors, int64_t begin, int64_t end) {
  for (int64_t group = begin; group < end; ++group) {
    survivors.start(group, sorted.group_starts[group]);
    for (int64_t place = sorted.group_starts[group]; place < sorted.group_starts[group + 1]; ++place) {
      const int32_t candidate = sorted.grouped[place];
      if (!survivors.suppress(candidate)) {
        survivors.add(candidate);
        sorted.kept[candidate] = 1;
      }
    }
  }
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst
