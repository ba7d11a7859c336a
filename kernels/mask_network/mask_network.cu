#include "mask_backward_cuda.h"
#include "mask_network_cuda.h"

namespace condinst::mask_network::cuda {

int64_t backward_scratch_bytes(const Inputs& inputs) {
  int64_t bytes = 0;
  with_accumulator(inputs, [&](auto acc) {
    with_backward_tiling(inputs, [&](auto, auto, BackwardTiling tiling, auto layout) {
      Scratch<decltype(acc)> scratch;
      bytes = divide_scratch(inputs, tiling, layout.size(), nullptr, scratch);
    });
  });
  return bytes;
}

}  // namespace condinst::mask_network::cuda
