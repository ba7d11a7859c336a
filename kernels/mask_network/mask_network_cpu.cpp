#include "mask_network_cpu.h"

#include "rows_cpu.h"

namespace condinst::mask_network {
namespace CONDINST_ISA {
namespace {

template <class Acc>
void add_bands_of_type(const Inputs& inputs, const Groups& groups, int64_t begin, int64_t end, Acc* grad_params) {
  const int64_t size = inputs.network.num_params(), bands = bands_of(inputs.height);
  const int64_t count = groups.end - groups.begin;
  for (int64_t position = begin; position < end; ++position) {
    const Acc* partial = static_cast<const Acc*>(groups.partial) + (position - groups.begin) * size;
    Acc* to = grad_params + groups.order[position] * size;
    for (int64_t i = 0; i < size; ++i) {
      double sum = 0;
      for (int64_t band = 0; band < bands; ++band) {
        sum += partial[band * count * size + i];
      }
      to[i] = static_cast<Acc>(sum);
    }
  }
}

}  // namespace

int64_t forward_scratch(const Inputs& inputs) {
  Arena arena(nullptr);
  with_accumulator(inputs.wide, [&](auto acc) { ForwardScratch<decltype(acc)>(inputs, arena); });
  return arena.bytes();
}

int64_t backward_scratch(const Inputs& inputs) {
  Arena arena(nullptr);
  with_accumulator(inputs.wide, [&](auto acc) { BackwardScratch<decltype(acc)>(inputs, arena); });
  return arena.bytes();
}

void add_bands(const Inputs& inputs, const Groups& groups, int64_t begin, int64_t end, void* grad_params) {
  with_accumulator(inputs.wide, [&](auto acc) {
    add_bands_of_type(inputs, groups, begin, end, static_cast<decltype(acc)*>(grad_params));
  });
}

}  // namespace CONDINST_ISA
}  // namespace condinst::mask_network
