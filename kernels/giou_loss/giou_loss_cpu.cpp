#include "giou_loss_cpu.h"

#include "../common/simd.h"

namespace condinst::giou_loss {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

// The four distances of a box, in one or two vectors.
template <class Acc, class T>
void read_box(const T* from, Acc (&box)[4]) {
  constexpr int lanes = kLanes<Acc> < 4 ? kLanes<Acc> : 4;
  for (int first = 0; first < 4; first += lanes) {
    const Vector<Acc> values = lanes == kLanes<Acc> ? load<Acc>(from + first) : load_first<Acc>(from + first, lanes);
    std::memcpy(box + first, &values, lanes * sizeof(Acc));
  }
}

template <class T, class Acc>
void write_box(T* to, const Acc (&box)[4]) {
  constexpr int lanes = kLanes<Acc> < 4 ? kLanes<Acc> : 4;
  for (int first = 0; first < 4; first += lanes) {
    Vector<Acc> values = {};
    std::memcpy(&values, box + first, lanes * sizeof(Acc));
    lanes == kLanes<Acc> ? store<T, Acc>(to + first, values) : store_first<T, Acc>(to + first, values, lanes);
  }
}

template <class Acc, class T>
void chunk_losses(const Args& args, int64_t task) {
  const LossResults& results = args.results;
  const LossChunk chunk = chunk_of(results, task);
  double sum = 0;
  for (int64_t i = chunk.first; i < chunk.first + chunk.size; ++i) {
    Acc predicted[4], targets[4], grad[4];
    read_box(static_cast<const T*>(args.predicted) + 4 * i, predicted);
    read_box(static_cast<const Acc*>(args.targets) + 4 * i, targets);
    const Acc weight = args.weights == nullptr ? Acc(1) : static_cast<const Acc*>(args.weights)[i];
    const Acc loss = weight * giou(predicted, targets, args.smooth, grad);
    sum += static_cast<double>(loss);
    if (results.losses != nullptr) {
      static_cast<Acc*>(results.losses)[i] = loss;
    }
    if (results.grad != nullptr) {
      const Acc factor = factor_of<Acc>(results, i);
      for (Acc& value : grad) {
        value = weight * value * factor;
      }
      write_box(static_cast<T*>(results.grad) + 4 * i, grad);
    }
  }
  if (results.sum != nullptr) {
    results.partial[task] = sum;
  }
}

}  // namespace

void losses(const Args& args, int64_t begin, int64_t end) {
  with_types(args, [&](auto predicted, auto acc) {
    for (int64_t task = begin; task < end; ++task) {
      chunk_losses<decltype(acc), decltype(predicted)>(args, task);
    }
  });
}

}  // namespace CONDINST_ISA
}  // namespace condinst::giou_loss
