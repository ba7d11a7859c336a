// The CPU kernels of dynamic_mask_head. Tasks and scratch memory are those of mask_network_cpu.h.
#pragma once

#include <cstdint>

#include "../common/cpu_isa.h"
#include "../common/element_type.h"
#include "../mask_network/mask_network_cpu.h"

namespace condinst::dynamic_mask_head {

using mask_network::Groups;
using mask_network::Inputs;

struct ForwardArgs {
  Inputs inputs;
  ElementType type;  // of the logits
  void* logits;      // [num_instances, height * factor, width * factor], out
};

struct BackwardArgs {
  Inputs inputs;
  Groups groups;
  ElementType type;         // of grad_logits
  const void* grad_logits;  // [num_instances, height * factor, width * factor]
};

CONDINST_FOR_EACH_ISA(
    // Tasks [begin, end) of forward_task_count: fill the logits.
    void forward(const ForwardArgs& args, int64_t begin, int64_t end, void* scratch);
    // Tasks [begin, end) of backward_task_count: add to grad_features, fill groups.partial.
    void backward(const BackwardArgs& args, int64_t begin, int64_t end, void* scratch);)

}  // namespace condinst::dynamic_mask_head
