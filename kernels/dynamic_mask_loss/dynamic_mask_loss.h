// What the CPU and the CUDA kernels of dynamic_mask_loss share: their targets. All else is in ../mask_network.
#pragma once

#include <cstdint>

namespace condinst::dynamic_mask_loss {

struct Targets {
  const uint8_t* masks;    // [num_targets, height * factor, width * factor], 0 and 1
  const int64_t* indices;  // [num_instances]; the CPU kernels need 0 .. num_targets-1, others give NaN on CUDA
  int64_t num_targets;
};

}  // namespace condinst::dynamic_mask_loss
