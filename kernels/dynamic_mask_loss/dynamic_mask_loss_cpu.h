// The CPU kernels of dynamic_mask_loss. Tasks and scratch memory are those of mask_network_cpu.h.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "../mask_network/mask_network_cpu.h"
#include "dynamic_mask_loss.h"

namespace condinst::dynamic_mask_loss {

using mask_network::Groups;
using mask_network::Inputs;

struct ForwardArgs {
  Inputs inputs;
  Targets targets;
  double eps;
  double* partial;  // [num_instances, forward_bands, 2] scratch: overlap and squares of one band
  void* losses;     // [num_instances] Acc, out
  void* sums;       // [num_instances, 2] Acc, out: overlap and total (eps included)
};

struct BackwardArgs {
  Inputs inputs;
  Groups groups;
  Targets targets;
  const void* sums;         // [num_instances, 2] Acc, from the forward pass
  const void* grad_losses;  // [num_instances] Acc
};

CONDINST_FOR_EACH_ISA(
    // Tasks [begin, end) of forward_task_count: fill partial.
    void partial_sums(const ForwardArgs& args, int64_t begin, int64_t end, void* scratch);
    // All instances: compute losses and sums from partial.
    void finish(const ForwardArgs& args);
    // Tasks [begin, end) of backward_task_count: add to grad_features, fill groups.partial.
    void backward(const BackwardArgs& args, int64_t begin, int64_t end, void* scratch);)

}  // namespace condinst::dynamic_mask_loss
