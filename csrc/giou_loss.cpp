// giou_loss: schemas, checks, allocation, dispatch. condinst/ops checks what users pass; the checks here are defensive
// checks for direct callers of torch.ops.condinst.
#include "../kernels/giou_loss/giou_loss_cpu.h"
#include "../kernels/giou_loss/giou_loss_cuda.h"

#include <optional>
#include <tuple>

#include "element_type.h"
#include "one_pass_loss.h"
#include "registration.h"

namespace condinst::giou_loss {
namespace {

using one_pass_loss::loss_type;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// predicted [N, 4], targets [N, 4], weights [N]
class Loss {
 public:
  static constexpr size_t kDims = 1;

  Loss(const Tensor& predicted, const Tensor& targets, const std::optional<Tensor>& weights, bool smooth)
      : argument(dense(predicted)),
        type(loss_type(targets.scalar_type() == ScalarType::Double)),  // targets must have the dtype of the loss
        targets_(dense(targets)),
        weights_(dense(weights)) {
    STD_TORCH_CHECK(predicted.dim() == 2 && predicted.size(1) == 4 && element_type(predicted) != ElementType::uint8,
                    "predicted: expected [N, 4] of a floating dtype");
    STD_TORCH_CHECK(targets.dim() == 2 && targets.size(0) == predicted.size(0) && targets.size(1) == 4,
                    "targets: expected [N, 4]");
    STD_TORCH_CHECK(
        targets.scalar_type() == type && (type == ScalarType::Double || predicted.scalar_type() != ScalarType::Double),
        "targets: expected the dtype of the loss, float64 if predicted is and otherwise float32 or float64");
    STD_TORCH_CHECK(same_device(predicted, targets), "targets: expected the device of predicted");
    if (weights.has_value()) {
      STD_TORCH_CHECK(weights->dim() == 1 && weights->size(0) == predicted.size(0) && weights->scalar_type() == type &&
                          same_device(*weights, predicted),
                      "weights: expected [N] of the dtype and the device of targets");
    }
    args.predicted = argument.const_data_ptr();
    args.predicted_type = element_type(argument);
    args.wide = type == ScalarType::Double;
    args.smooth = smooth;
    args.targets = targets_.const_data_ptr();
    args.weights = weights_.has_value() ? weights_->const_data_ptr() : nullptr;
    args.results.count = argument.size(0);
    args.results.chunk = condinst::on_cuda(argument) ? cuda::kChunk : kCpuChunk;
  }

  static void on_cpu(const Args& args, int64_t begin, int64_t end) { CONDINST_CPU_KERNEL(losses)(args, begin, end); }
  static void on_cuda(const Args& args, void* stream) { cuda::losses(args, stream); }

  Tensor argument;
  ScalarType type;
  Args args{};

 private:
  Tensor targets_;
  std::optional<Tensor> weights_;
};

// -> loss [] or [N], gradient of the sum of the losses [N, 4] or [0]
std::tuple<Tensor, Tensor> forward(const Tensor& predicted, const Tensor& targets, const std::optional<Tensor>& weights,
                                   bool smooth, bool reduce, bool with_grad) {
  return one_pass_loss::forward(Loss(predicted, targets, weights, smooth), reduce, with_grad);
}

// grad_loss [] or [N] -> gradient of predicted [N, 4]
Tensor backward(const Tensor& grad_loss, const Tensor& predicted, const Tensor& targets,
                const std::optional<Tensor>& weights, bool smooth) {
  return one_pass_loss::backward(Loss(predicted, targets, weights, smooth), grad_loss);
}

}  // namespace
}  // namespace condinst::giou_loss

STABLE_TORCH_LIBRARY_FRAGMENT(condinst, m) {
  m.def(
      "giou_loss(Tensor predicted, Tensor targets, Tensor? weights, bool smooth, bool reduce, bool with_grad) "
      "-> (Tensor loss, Tensor grad)");
  m.def(
      "giou_loss_backward(Tensor grad_loss, Tensor predicted, Tensor targets, Tensor? weights, bool smooth) "
      "-> Tensor");
}

CONDINST_LIBRARY_IMPL(m) {
  m.impl("giou_loss", TORCH_BOX(&condinst::giou_loss::forward));
  m.impl("giou_loss_backward", TORCH_BOX(&condinst::giou_loss::backward));
}
