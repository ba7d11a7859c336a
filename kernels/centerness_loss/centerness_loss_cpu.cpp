#include "centerness_loss_cpu.h"

#include <type_traits>

#include "../common/loss_cpu.h"
#include "../common/simd_math.h"

namespace condinst::centerness_loss {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

template <class Acc, class T>
void chunk_losses(const Args& args, int64_t task) {
  using V = Vector<Acc>;
  const Acc* targets = static_cast<const Acc*>(args.targets);
  chunk_of_losses<Acc>(args.results, static_cast<const T*>(args.logits), task, [&](int64_t index, int inside, V x) {
    const V y = inside < kLanes<Acc> ? load_first<Acc>(targets + index, inside) : load<Acc>(targets + index);
    return cross_entropy(relu(x), relu(-x), logistic(x), y);
  });
}

}  // namespace

void losses(const Args& args, int64_t begin, int64_t end) {
  with_element_type(args.logit_type, [&](auto logit) {
    using T = decltype(logit);
    if constexpr (!std::is_same_v<T, uint8_t>) {
      for (int64_t task = begin; task < end; ++task) {
        chunk_losses<std::conditional_t<std::is_same_v<T, double>, double, float>, T>(args, task);
      }
    }
  });
}

}  // namespace CONDINST_ISA
}  // namespace condinst::centerness_loss
