// The targets of dynamic_mask_loss, for the CPU and the CUDA kernels. All other shared code is in ../mask_network.
#pragma once

#include <cstdint>

namespace condinst::dynamic_mask_loss {

struct Targets {
  const uint8_t* masks;    // [num_targets, height * factor, width * factor], 0 and 1
  const int64_t* indices;  // [num_instances]; in 0 .. num_targets-1; other indices give NaN on CUDA
  int64_t num_targets;
};

}  // namespace condinst::dynamic_mask_loss
