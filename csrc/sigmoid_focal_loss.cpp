// sigmoid_focal_loss: schemas, checks, allocation, dispatch. condinst/ops/sigmoid_focal_loss checks what users give;
// these checks are the second fence, for callers of torch.ops.condinst.
#include "../kernels/sigmoid_focal_loss/sigmoid_focal_loss_cpu.h"
#include "../kernels/sigmoid_focal_loss/sigmoid_focal_loss_cuda.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <tuple>

#include "cuda.h"
#include "dense.h"
#include "element_type.h"
#include "loss.h"

namespace condinst::sigmoid_focal_loss {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check_inputs(const Tensor& logits, const Tensor& labels) {
  STD_TORCH_CHECK(logits.dim() == 2 && element_type(logits) != ElementType::uint8,
                  "logits: expected [N, C] of a floating dtype");
  STD_TORCH_CHECK(logits.size(1) <= kMostClasses, "logits: expected at most ", kMostClasses, " classes");
  STD_TORCH_CHECK(labels.dim() == 1 && labels.size(0) == logits.size(0) && labels.scalar_type() == ScalarType::Long,
                  "labels: expected [N] of int64");
  STD_TORCH_CHECK(same_device(logits, labels), "labels: expected the device of logits");
}

bool is_wide(const Tensor& logits) { return logits.scalar_type() == ScalarType::Double; }

// Without results. Both tensors must be contiguous and outlive the arguments.
Args make_args(const Tensor& logits, const Tensor& labels, double alpha, double gamma) {
  Args args{};
  args.logits = logits.const_data_ptr();
  args.logit_type = element_type(logits);
  args.labels = static_cast<const int64_t*>(labels.const_data_ptr());
  args.num_classes = logits.size(1);
  args.alpha = alpha;
  args.gamma = gamma;
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

// logits [N, C], labels [N] -> loss [] or [N, C], gradient of the sum of the losses [N, C] or [0]
std::tuple<Tensor, Tensor> forward(const Tensor& logits, const Tensor& labels, double alpha, double gamma, bool reduce,
                                   bool with_grad) {
  check_inputs(logits, labels);
  const Tensor dense_logits = dense(logits);
  const Tensor dense_labels = dense(labels);
  Args args = make_args(dense_logits, dense_labels, alpha, gamma);
  const LossTensors tensors = new_results(dense_logits, {logits.size(0), logits.size(1)}, loss_type(is_wide(logits)),
                                          reduce, with_grad, args.results);
  run(logits, args);
  return tensors.outputs();
}

// grad_loss [] or [N, C], logits [N, C], labels [N] -> gradient of logits [N, C]
Tensor backward(const Tensor& grad_loss, const Tensor& logits, const Tensor& labels, double alpha, double gamma) {
  check_inputs(logits, labels);
  const Tensor dense_logits = dense(logits);
  const Tensor dense_labels = dense(labels);
  const Tensor dense_grad_loss = dense(grad_loss);
  const Tensor grad = torch::stable::empty_like(dense_logits);
  Args args = make_args(dense_logits, dense_labels, alpha, gamma);
  set_gradient(logits, {logits.size(0), logits.size(1)}, loss_type(is_wide(logits)), dense_grad_loss, grad,
               args.results);
  run(logits, args);
  return grad;
}

}  // namespace
}  // namespace condinst::sigmoid_focal_loss

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "sigmoid_focal_loss(Tensor logits, Tensor labels, float alpha, float gamma, bool reduce, bool with_grad) "
      "-> (Tensor loss, Tensor grad)");
  m.def(
      "sigmoid_focal_loss_backward(Tensor grad_loss, Tensor logits, Tensor labels, float alpha, float gamma) "
      "-> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(condinst, CPU, m) {
  m.impl("sigmoid_focal_loss", TORCH_BOX(&condinst::sigmoid_focal_loss::forward));
  m.impl("sigmoid_focal_loss_backward", TORCH_BOX(&condinst::sigmoid_focal_loss::backward));
}

#if defined(CONDINST_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(condinst, CUDA, m) {
  m.impl("sigmoid_focal_loss", TORCH_BOX(&condinst::sigmoid_focal_loss::forward));
  m.impl("sigmoid_focal_loss_backward", TORCH_BOX(&condinst::sigmoid_focal_loss::backward));
}
#endif
