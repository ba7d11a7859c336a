#include "sigmoid_focal_loss_cpu.h"

#include <limits>
#include <type_traits>

#include "../common/loss_cpu.h"
#include "../common/simd_math.h"

namespace condinst::sigmoid_focal_loss {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

// The logits of a chunk that belong to the class of their row, in order. There are few of them, so that this is cheaper
// than a comparison per logit, and rows need not be aligned with vectors.
class Positives {
 public:
  Positives(const Args& args, const LossChunk& chunk)
      : labels_(args.labels),
        num_classes_(args.num_classes),
        row_(chunk.first / args.num_classes),
        end_row_((chunk.first + chunk.size - 1) / args.num_classes + 1) {
    do {
      find();
    } while (index_ < chunk.first);
  }

  int64_t index() const { return index_; }

  void find() {
    for (; row_ < end_row_; ++row_) {
      const int64_t label = labels_[row_];
      if (label >= 0 && label < num_classes_) {
        index_ = row_++ * num_classes_ + label;
        return;
      }
    }
    index_ = std::numeric_limits<int64_t>::max();
  }

 private:
  const int64_t* labels_;
  int64_t num_classes_, row_, end_row_;
  int64_t index_ = 0;
};

template <class Acc, class T>
void chunk_losses(const Args& args, int64_t task) {
  using V = Vector<Acc>;
  const Acc gamma = static_cast<Acc>(args.gamma);
  const Acc weights[2] = {static_cast<Acc>(1 - args.alpha), static_cast<Acc>(args.alpha)};

  const auto losses_of = [&](V x, V sign, V weight) {
    const V z = x * sign;
    const Logistic<V> wrong = logistic(z);
    const V power = power_of(
        wrong.sigmoid, gamma, [&] { return at_most(V{}, z) - wrong.tail; }, [](V x) { return exp_of_negative(x); });
    LossAndGradient<V> values = focal_loss(weight, power, relu(z) + wrong.tail, wrong, gamma);
    values.grad *= sign;
    return values;
  };

  Positives positives(args, chunk_of(args.results, task));
  chunk_of_losses<Acc>(args.results, static_cast<const T*>(args.logits), task, [&](int64_t index, int inside, V x) {
    const V one = V{} + 1;
    const V background = V{} + weights[0];
    if (positives.index() >= index + inside) {
      return losses_of(x, one, background);
    }
    V sign = one;
    V weight = background;
    for (; positives.index() < index + inside; positives.find()) {
      sign[positives.index() - index] = -1;
      weight[positives.index() - index] = weights[1];
    }
    return losses_of(x, sign, weight);
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
}  // namespace condinst::sigmoid_focal_loss
