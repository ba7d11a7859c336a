// sigmoid_focal_loss: schemas, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are
// defensive checks for direct callers of torch.ops.condinst.
#include "../kernels/sigmoid_focal_loss/sigmoid_focal_loss_cpu.h"
#include "../kernels/sigmoid_focal_loss/sigmoid_focal_loss_cuda.h"

#include <tuple>

#include "element_type.h"
#include "one_pass_loss.h"
#include "registration.h"

namespace condinst::sigmoid_focal_loss {
namespace {

using one_pass_loss::loss_type;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// logits [N, C], labels [N]
class Loss {
 public:
  static constexpr size_t kDims = 2;

  Loss(const Tensor& logits, const Tensor& labels, double alpha, double gamma)
      : argument(dense(logits)),
        type(loss_type(logits.scalar_type() == ScalarType::Double)),
        labels_(dense(labels)) {
    STD_TORCH_CHECK(logits.dim() == 2 && element_type(logits) != ElementType::uint8,
                    "logits: expected [N, C] of a floating dtype");
    STD_TORCH_CHECK(logits.size(1) <= kMostClasses, "logits: expected at most ", kMostClasses, " classes");
    STD_TORCH_CHECK(labels.dim() == 1 && labels.size(0) == logits.size(0) && labels.scalar_type() == ScalarType::Long,
                    "labels: expected [N] of int64");
    STD_TORCH_CHECK(same_device(logits, labels), "labels: expected the device of logits");
    args.logits = argument.const_data_ptr();
    args.logit_type = element_type(argument);
    args.labels = static_cast<const int64_t*>(labels_.const_data_ptr());
    args.num_classes = argument.size(1);
    args.alpha = alpha;
    args.gamma = gamma;
    args.results.count = argument.numel();
    args.results.chunk = condinst::on_cuda(argument) ? cuda::kChunk : kCpuChunk;
  }

  static void on_cpu(const Args& args, int64_t begin, int64_t end) { CONDINST_CPU_KERNEL(losses)(args, begin, end); }
  static void on_cuda(const Args& args, void* stream) { cuda::losses(args, stream); }

  Tensor argument;
  ScalarType type;
  Args args{};

 private:
  Tensor labels_;
};

// -> loss [] or [N, C], gradient of the sum of the losses [N, C] or [0]
std::tuple<Tensor, Tensor> forward(const Tensor& logits, const Tensor& labels, double alpha, double gamma, bool reduce,
                                   bool with_grad) {
  return one_pass_loss::forward(Loss(logits, labels, alpha, gamma), reduce, with_grad);
}

// grad_loss [] or [N, C] -> gradient of logits [N, C]
Tensor backward(const Tensor& grad_loss, const Tensor& logits, const Tensor& labels, double alpha, double gamma) {
  return one_pass_loss::backward(Loss(logits, labels, alpha, gamma), grad_loss);
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

CONDINST_LIBRARY_IMPL(m) {
  m.impl("sigmoid_focal_loss", TORCH_BOX(&condinst::sigmoid_focal_loss::forward));
  m.impl("sigmoid_focal_loss_backward", TORCH_BOX(&condinst::sigmoid_focal_loss::backward));
}
