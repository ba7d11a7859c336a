#include "dice_loss_cpu.h"

#include "../common/dice.h"
#include "../common/simd.h"

namespace condinst::dice_loss {
namespace CONDINST_ISA {
namespace {

using namespace condinst::CONDINST_ISA;

// Independent accumulators, to hide the latency of the additions.
constexpr int kUnroll = 4;

// overlap += sum(m * t), squares += sum(m^2) + sum(t^2) over one chunk
template <class Acc, class Mask, class Target>
void chunk_sums(const Mask* masks, const Target* targets, int64_t size, double* overlap, double* squares) {
  constexpr int lanes = kLanes<Acc>;
  Vector<Acc> overlaps[kUnroll] = {};
  Vector<Acc> both_squares[kUnroll] = {};
  const auto add = [&](int slot, Vector<Acc> m, Vector<Acc> t) {
    overlaps[slot] += m * t;
    both_squares[slot] += m * m;
    both_squares[slot] += t * t;
  };

  int64_t i = 0;
  for (; i + kUnroll * lanes <= size; i += kUnroll * lanes) {
    for (int slot = 0; slot < kUnroll; ++slot) {
      add(slot, load<Acc>(masks + i + slot * lanes), load<Acc>(targets + i + slot * lanes));
    }
  }
  for (; i + lanes <= size; i += lanes) {
    add(0, load<Acc>(masks + i), load<Acc>(targets + i));
  }
  if (i < size) {
    add(0, load_first<Acc>(masks + i, size - i), load_first<Acc>(targets + i, size - i));
  }

  for (int slot = 0; slot < kUnroll; ++slot) {
    *overlap += sum_of_lanes<Acc>(overlaps[slot]);
    *squares += sum_of_lanes<Acc>(both_squares[slot]);
  }
}

// grad = scale * (ratio * m - t) over one chunk
template <class Acc, class Mask, class Target>
void chunk_gradient(const Mask* masks, const Target* targets, Mask* grads, int64_t size, dice::Gradient<Acc> gradient) {
  constexpr int lanes = kLanes<Acc>;
  const auto grad = [&](Vector<Acc> m, Vector<Acc> t) { return gradient.scale * (gradient.ratio * m - t); };

  int64_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    store<Mask, Acc>(grads + i, grad(load<Acc>(masks + i), load<Acc>(targets + i)));
  }
  if (i < size) {
    const int64_t rest = size - i;
    store_first<Mask, Acc>(grads + i, grad(load_first<Acc>(masks + i, rest), load_first<Acc>(targets + i, rest)), rest);
  }
}

template <class Acc>
void finish_masks(const Args& args, int64_t begin, int64_t end) {
  for (int64_t mask = begin; mask < end; ++mask) {
    double overlap = 0;
    double total = args.eps;
    for (int64_t task = mask * args.chunks; task < (mask + 1) * args.chunks; ++task) {
      overlap += args.partial[2 * task];
      total += args.partial[2 * task + 1];
    }
    static_cast<Acc*>(args.losses)[mask] = static_cast<Acc>(dice::loss(overlap, total));
    static_cast<Acc*>(args.sums)[2 * mask] = static_cast<Acc>(overlap);
    static_cast<Acc*>(args.sums)[2 * mask + 1] = static_cast<Acc>(total);
  }
}

}  // namespace

void partial_sums(const Args& args, int64_t begin, int64_t end) {
  with_types(args, [&](auto mask, auto target) {
    using Mask = decltype(mask);
    using Target = decltype(target);
    for (int64_t task = begin; task < end; ++task) {
      const Chunk chunk = chunk_of(args, task);
      double* partial = args.partial + 2 * task;
      partial[0] = partial[1] = 0;
      chunk_sums<AccOf<Mask, Target>>(static_cast<const Mask*>(args.masks) + chunk.offset,
                                      static_cast<const Target*>(args.targets) + chunk.offset, chunk.size, &partial[0],
                                      &partial[1]);
    }
  });
}

void finish(const Args& args, int64_t begin, int64_t end) {
  args.wide ? finish_masks<double>(args, begin, end) : finish_masks<float>(args, begin, end);
}

void backward(const Args& args, int64_t begin, int64_t end) {
  with_types(args, [&](auto mask, auto target) {
    using Mask = decltype(mask);
    using Target = decltype(target);
    using Acc = AccOf<Mask, Target>;
    for (int64_t task = begin; task < end; ++task) {
      const Chunk chunk = chunk_of(args, task);
      const Acc* sums = static_cast<const Acc*>(args.sums) + 2 * chunk.mask;
      const dice::Gradient<Acc> grad =
          dice::gradient(static_cast<const Acc*>(args.grad_losses)[chunk.mask], sums[0], sums[1]);
      chunk_gradient<Acc>(static_cast<const Mask*>(args.masks) + chunk.offset,
                          static_cast<const Target*>(args.targets) + chunk.offset,
                          static_cast<Mask*>(args.grad_masks) + chunk.offset, chunk.size, grad);
    }
  });
}

}  // namespace CONDINST_ISA
}  // namespace condinst::dice_loss
