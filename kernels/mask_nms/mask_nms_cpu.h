// The CPU kernels of mask_nms: summarize, then each group of candidates, in ../suppression.
//
// The candidates of a group are decided in the order of `grouped`: an earlier survivor removes a candidate, or it survives.
// The tests against earlier survivors are independent of each other, so a large group is decided in rounds: any threads
// test the candidates of a round against the survivors of earlier rounds, then one thread decides the others.
#pragma once

#include "../common/cpu_isa.h"
#include "../suppression/suppression_cpu.h"
#include "mask_nms.h"

namespace condinst::mask_nms {

constexpr int64_t kRound = 64;        // candidates
constexpr int64_t kLargeGroup = 256;  // the least candidates of a group that is decided in rounds

// A group during suppression.
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
    // The other candidates of the round, on one thread: fills `kept` and `survivors`.
    void settle_round(const Args& args, const suppression::Sorted& sorted, const Scratch& scratch, Group& group,
                      int64_t begin, int64_t end);
    // Groups [begin, end) except the large groups, each in a single round.
    void settle_small_groups(const Args& args, const suppression::Sorted& sorted, const Scratch& scratch, int64_t begin,
                             int64_t end);)

}  // namespace condinst::mask_nms
