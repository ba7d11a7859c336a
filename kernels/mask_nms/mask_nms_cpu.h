// The CPU kernels of mask_nms: summarize, then each group of candidates, in ../suppression.
//
// A group is settled in the order of `grouped`: a candidate is removed by a survivor before it, or survives. The tests
// against survivors of earlier places know nothing of each other, so that a large group is settled in rounds: any
// threads test the candidates of a round against the survivors of earlier rounds, then one settles what is left.
#pragma once

#include "../common/cpu_isa.h"
#include "../suppression/suppression_cpu.h"
#include "mask_nms.h"

namespace condinst::mask_nms {

constexpr int64_t kRound = 64;        // candidates
constexpr int64_t kLargeGroup = 256;  // candidates from which on a group is settled in rounds

// A group while it is settled.
struct Group {
  int64_t begin, end;     // places in `grouped`
  int64_t num_survivors;  // so far
};

// Scratch by place in `grouped`: a group has [begin, end) of both.
struct Scratch {
  int32_t* survivors;  // candidates
  uint8_t* removed;    // by a survivor of an earlier round
};

CONDINST_FOR_EACH_ISA(
    // Masks [begin, end): fills the summaries.
    void summarize(const Args& args, int64_t begin, int64_t end);
    // Places [begin, end) of a round: fills `removed`.
    void test_round(const Args& args, const suppression::Sorted& sorted, const Scratch& scratch, const Group& group,
                    int64_t begin, int64_t end);
    // The rest of the round, on one thread: fills `kept` and `survivors`.
    void settle_round(const Args& args, const suppression::Sorted& sorted, const Scratch& scratch, Group& group,
                      int64_t begin, int64_t end);
    // Groups [begin, end) but for the large ones, each in one round.
    void settle_small_groups(const Args& args, const suppression::Sorted& sorted, const Scratch& scratch, int64_t begin,
                             int64_t end);)

}  // namespace condinst::mask_nms
