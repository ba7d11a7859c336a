// centerness_loss: schemas, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are
// defensive checks for direct callers of torch.ops.condinst.
#include "../kernels/centerness_loss/centerness_loss_cpu.h"
#include "../kernels/centerness_loss/centerness_loss_cuda.h"

#include <tuple>

#include "element_type.h"
#include "one_pass_loss.h"
#include "registration.h"

namespace condinst::centerness_loss {
namespace {

using one_pass_loss::loss_type;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// logits [N], targets [N]
class Loss {
 public:
  static constexpr size_t kDims = 1;

  Loss(const Tensor& logits, const Tensor& targets)
      : argument(dense(logits)),
        type(loss_type(logits.scalar_type() == ScalarType::Double)),
        targets_(dense(targets)) {
    STD_TORCH_CHECK(logits.dim() == 1 && element_type(logits) != ElementType::uint8,
                    "logits: expected [N] of a floating dtype");
    STD_TORCH_CHECK(targets.dim() == 1 && targets.size(0) == logits.size(0) && targets.scalar_type() == type,
                    "targets: expected [N] of the dtype of the loss");
    STD_TORCH_CHECK(same_device(logits, targets), "targets: expected the device of logits");
    args.logits = argument.const_data_ptr();
    args.logit_type = element_type(argument);
    args.targets = targets_.const_data_ptr();
    args.results.count = argument.numel();
    args.results.chunk = condinst::on_cuda(argument) ? cuda::kChunk : kCpuChunk;
  }

  static void on_cpu(const Args& args, int64_t begin, int64_t end) { CONDINST_CPU_KERNEL(losses)(args, begin, end); }
  static void on_cuda(const Args& args, void* stream) { cuda::losses(args, stream); }

  Tensor argument;
  ScalarType type;
  Args args{};

 private:
  Tensor targets_;
};

// -> loss [] or [N], gradient of the sum of the losses [N] or [0]
std::tuple<Tensor, Tensor> forward(const Tensor& logits, const Tensor& targets, bool reduce, bool with_grad) {
  return one_pass_loss::forward(Loss(logits, targets), reduce, with_grad);
}

// grad_loss [] or [N] -> gradient of logits [N]
Tensor backward(const Tensor& grad_loss, const Tensor& logits, const Tensor& targets) {
  return one_pass_loss::backward(Loss(logits, targets), grad_loss);
}

}  // namespace
}  // namespace condinst::centerness_loss

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def("centerness_loss(Tensor logits, Tensor targets, bool reduce, bool with_grad) -> (Tensor loss, Tensor grad)");
  m.def("centerness_loss_backward(Tensor grad_loss, Tensor logits, Tensor targets) -> Tensor");
}

CONDINST_LIBRARY_IMPL(m) {
  m.impl("centerness_loss", TORCH_BOX(&condinst::centerness_loss::forward));
  m.impl("centerness_loss_backward", TORCH_BOX(&condinst::centerness_loss::backward));
}
