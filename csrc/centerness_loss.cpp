// centerness_loss: schemas, checks, allocation, dispatch. condinst/ops/centerness_loss checks what users give; these
// checks are the second fence, for callers of torch.ops.condinst.
#include "../kernels/centerness_loss/centerness_loss_cpu.h"
#include "../kernels/centerness_loss/centerness_loss_cuda.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <tuple>

#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "loss.h"

namespace condinst::centerness_loss {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

bool is_wide(const Tensor& logits) { return logits.scalar_type() == ScalarType::Double; }

void check_inputs(const Tensor& logits, const Tensor& targets) {
  STD_TORCH_CHECK(logits.dim() == 1 && element_type(logits) != ElementType::uint8,
                  "logits: expected [N] of a floating dtype");
  STD_TORCH_CHECK(targets.dim() == 1 && targets.size(0) == logits.size(0) &&
                      targets.scalar_type() == loss_type(is_wide(logits)),
                  "targets: expected [N] of the dtype of the loss");
  STD_TORCH_CHECK(same_device(logits, targets), "targets: expected the device of logits");
}

// Without results. Both tensors must be contiguous and outlive the arguments.
Args make_args(const Tensor& logits, const Tensor& targets) {
  Args args{};
  args.logits = logits.const_data_ptr();
  args.logit_type = element_type(logits);
  args.targets = targets.const_data_ptr();
  args.results.count = logits.numel();
  args.results.chunk = on_cuda(logits) ? cuda::kChunk : kCpuChunk;
  return args;
}

void run(const Tensor& logits, const Args& args) {
  if constexpr (kWithCuda) {
    if (on_cuda(logits)) {
      return on_current_stream(logits, [&](void* stream) { cuda::losses(args, stream); });
    }
  }
  const auto losses = CONDINST_CPU_KERNEL(losses);
  run_on_cpu(args.results, is_wide(logits), [&](int64_t begin, int64_t end) { losses(args, begin, end); });
}

// logits [N], targets [N] -> loss [] or [N], gradient of the sum of the losses [N] or [0]
std::tuple<Tensor, Tensor> forward(const Tensor& logits, const Tensor& targets, bool reduce, bool with_grad) {
  check_inputs(logits, targets);
  const Tensor dense_logits = dense(logits);
  const Tensor dense_targets = dense(targets);
  Args args = make_args(dense_logits, dense_targets);
  const LossTensors tensors =
      new_results(dense_logits, {logits.size(0)}, loss_type(is_wide(logits)), reduce, with_grad, args.results);
  run(logits, args);
  return tensors.outputs();
}

// grad_loss [] or [N], logits [N], targets [N] -> gradient of logits [N]
Tensor backward(const Tensor& grad_loss, const Tensor& logits, const Tensor& targets) {
  check_inputs(logits, targets);
  const Tensor dense_logits = dense(logits);
  const Tensor dense_targets = dense(targets);
  const Tensor dense_grad_loss = dense(grad_loss);
  const Tensor grad = torch::stable::empty_like(dense_logits);
  Args args = make_args(dense_logits, dense_targets);
  set_gradient(logits, {logits.size(0)}, loss_type(is_wide(logits)), dense_grad_loss, grad, args.results);
  run(logits, args);
  return grad;
}

}  // namespace
}  // namespace condinst::centerness_loss

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def("centerness_loss(Tensor logits, Tensor targets, bool reduce, bool with_grad) -> (Tensor loss, Tensor grad)");
  m.def("centerness_loss_backward(Tensor grad_loss, Tensor logits, Tensor targets) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(condinst, CPU, m) {
  m.impl("centerness_loss", TORCH_BOX(&condinst::centerness_loss::forward));
  m.impl("centerness_loss_backward", TORCH_BOX(&condinst::centerness_loss::backward));
}

#if defined(CONDINST_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(condinst, CUDA, m) {
  m.impl("centerness_loss", TORCH_BOX(&condinst::centerness_loss::forward));
  m.impl("centerness_loss_backward", TORCH_BOX(&condinst::centerness_loss::backward));
}
#endif
