#include "dynamic_mask_loss_cpu.h"

#include "../common/dice.h"
#include "../mask_network/rows_cpu.h"

namespace condinst::dynamic_mask_loss {
namespace CONDINST_ISA {
namespace {

using namespace condinst::mask_network;
using namespace condinst::mask_network::CONDINST_ISA;

// Target column factor * x + j of a vector of cells, in columns[j].
template <class Acc, int factor>
void target_columns(const uint8_t* row, Vector<Acc>* columns) {
  if constexpr (std::is_same_v<Acc, double>) {
    for (int j = 0; j < factor; ++j) {
      for (int lane = 0; lane < kLanes<double>; ++lane) {
        columns[j][lane] = row[factor * lane + j];
      }
    }
  } else if constexpr (factor == 1) {
    columns[0] = load<float>(row);
  } else {
    // the bytes of a cell are one little-endian number
    UIntVector cells;
    if constexpr (factor == 2) {
      cells = widen(load_bits<ShortVector>(row));
    } else {
      cells = load_bits<UIntVector>(row);
    }
    for (int j = 0; j < factor; ++j) {
      columns[j] = __builtin_convertvector(IntVector((cells >> (8 * j)) & 0xff), FloatVector);
    }
  }
}

// Calls visit(x, masks, targets) for each vector of cells of a row of the upsampled map; column factor * x + j of both is
// in element j. Both are 0 beyond the end of the row.
template <class Acc, int factor, bool mixed, class Visit>
void visit_row(const Acc* low, const Acc* high, Acc weight, const uint8_t* target, int64_t width, const Visit& visit) {
  constexpr int lanes = kLanes<Acc>;
  Vector<Acc> masks[factor], targets[factor];
  const auto prepare = [&](int64_t x, const uint8_t* row) {
    upsampled_columns<Acc, factor, mixed>(low, high, weight, x, masks);
    for (int j = 0; j < factor; ++j) {
      masks[j] = sigmoid(masks[j]);
    }
    target_columns<Acc, factor>(row, targets);
  };
  int64_t x = 0;
  for (; x + lanes <= width; x += lanes) {
    prepare(x, target + factor * x);
    visit(x, masks, targets);
  }
  if (x < width) {
    uint8_t rest[factor * lanes] = {};
    std::memcpy(rest, target + factor * x, static_cast<size_t>(factor * (width - x)));
    prepare(x, rest);
    Acc inside[lanes] = {};
    std::fill(inside, inside + (width - x), Acc(1));
    for (int j = 0; j < factor; ++j) {
      masks[j] *= load<Acc>(inside);
    }
    visit(x, masks, targets);
  }
}

template <class Acc, int factor, class Visit>
void visit_row(const Acc* low, const Acc* high, Acc weight, const uint8_t* target, int64_t width, const Visit& visit) {
  weight > 0 ? visit_row<Acc, factor, true>(low, high, weight, target, width, visit)
             : visit_row<Acc, factor, false>(low, high, weight, target, width, visit);
}

const uint8_t* target_row(const Inputs& inputs, const Targets& targets, int64_t index, int64_t i) {
  const int64_t factor = inputs.factor;
  const int64_t height = factor * inputs.height, width = factor * inputs.width;
  return targets.masks + (targets.indices[index] * height + i) * width;
}

template <class Acc, int factor>
void partial_sums_of_tasks(const ForwardArgs& args, int64_t begin, int64_t end, void* memory) {
  const Inputs& inputs = args.inputs;
  Arena arena(memory);
  const ForwardScratch<Acc> scratch(inputs, arena);
  const int64_t bands = forward_bands(inputs);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t index = task / bands, band = task % bands;
    const Instance<Acc> instance(inputs, index, scratch.x_row);
    Vector<Acc> overlaps[factor] = {}, squares[factor] = {};
    for_upsampled_rows<Acc>(
        inputs, factor * band_start(band, bands, inputs.height), factor * band_start(band + 1, bands, inputs.height),
        scratch.logits,
        [&](int64_t y, Acc* row) { logits_of_row(inputs, instance, y, scratch.hidden, row); },
        [&](int64_t i, const Acc* low, const Acc* high, Acc weight) {
          visit_row<Acc, factor>(low, high, weight, target_row(inputs, args.targets, index, i), inputs.width,
                                 [&](int64_t, const Vector<Acc>* masks, const Vector<Acc>* targets) {
                                   for (int j = 0; j < factor; ++j) {
                                     overlaps[j] += masks[j] * targets[j];
                                     squares[j] += masks[j] * masks[j];
                                     squares[j] += targets[j] * targets[j];
                                   }
                                 });
        });
    double* partial = args.partial + 2 * task;
    partial[0] = partial[1] = 0;
    for (int j = 0; j < factor; ++j) {
      partial[0] += sum_of_lanes<Acc>(overlaps[j]);
      partial[1] += sum_of_lanes<Acc>(squares[j]);
    }
  }
}

template <class Acc>
void finish_instances(const ForwardArgs& args) {
  const int64_t bands = forward_bands(args.inputs);
  for (int64_t index = 0; index < args.inputs.num_instances; ++index) {
    double overlap = 0;
    double total = args.eps;
    for (int64_t task = index * bands; task < (index + 1) * bands; ++task) {
      overlap += args.partial[2 * task];
      total += args.partial[2 * task + 1];
    }
    static_cast<Acc*>(args.losses)[index] = static_cast<Acc>(dice::loss(overlap, total));
    static_cast<Acc*>(args.sums)[2 * index] = static_cast<Acc>(overlap);
    static_cast<Acc*>(args.sums)[2 * index + 1] = static_cast<Acc>(total);
  }
}

template <class Acc, int factor>
void backward_of_type(const BackwardArgs& args, int64_t begin, int64_t end, void* memory) {
  const Inputs& inputs = args.inputs;
  backward_tasks<Acc, factor, true>(
      inputs, args.groups, begin, end, memory,
      [&](int64_t index, int64_t i, const Acc* low, const Acc* high, Acc weight, const BackwardScratch<Acc>& scratch) {
        const Acc* sums = static_cast<const Acc*>(args.sums) + 2 * index;
        const dice::Gradient<Acc> gradient =
            dice::gradient(static_cast<const Acc*>(args.grad_losses)[index], sums[0], sums[1]);
        visit_row<Acc, factor>(low, high, weight, target_row(inputs, args.targets, index, i), inputs.width,
                               [&](int64_t x, const Vector<Acc>* masks, const Vector<Acc>* targets) {
                                 for (int j = 0; j < factor; ++j) {
                                   const Vector<Acc> slope = gradient.scale * (masks[j] - masks[j] * masks[j]);
                                   store<Acc, Acc>(scratch.columns(j) + x, slope * (gradient.ratio * masks[j] - targets[j]));
                                 }
                               });
      });
}

}  // namespace

void partial_sums(const ForwardArgs& args, int64_t begin, int64_t end, void* scratch) {
  with_accumulator(args.inputs.wide, [&](auto acc) {
    with_factor(args.inputs.factor, [&](auto factor) {
      partial_sums_of_tasks<decltype(acc), decltype(factor)::value>(args, begin, end, scratch);
    });
  });
}

void finish(const ForwardArgs& args) {
  with_accumulator(args.inputs.wide, [&](auto acc) { finish_instances<decltype(acc)>(args); });
}

void backward(const BackwardArgs& args, int64_t begin, int64_t end, void* scratch) {
  with_accumulator(args.inputs.wide, [&](auto acc) {
    with_factor(args.inputs.factor, [&](auto factor) {
      backward_of_type<decltype(acc), decltype(factor)::value>(args, begin, end, scratch);
    });
  });
}

}  // namespace CONDINST_ISA
}  // namespace condinst::dynamic_mask_loss
