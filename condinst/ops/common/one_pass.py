"""Losses whose kernels compute the losses and the gradient of their sum in one pass over the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator
from condinst.backends.transforms import is_batch_of_gradients


def one_pass_loss(
    namespace: str, op: str, *, num_tensors: int, loss_dims: int, loss_dtype: Callable[..., torch.dtype]
) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient of ``<op>(*tensors, *options, reduce, with_grad) -> (loss, grad)``.

    With `with_grad`, the forward pass computes `grad`, and the backward pass scales it in place and returns it, so no
    other memory of the size of the argument is needed. This is done only if the argument has the dtype of the loss:
    otherwise the gradient would be rounded twice, and to float16 before it is scaled. In that case, in a second
    backward pass and under ``create_graph``, ``<op>_backward(grad_loss, *tensors, *options)`` computes it again.

    Args:
        namespace: namespace of both operators.
        op: name of the operator; its first tensor has the gradient.
        num_tensors: the number of arguments that are tensors, or None in place of a tensor.
        loss_dims: the number of dimensions of the losses; their sizes are those of the first tensor.
        loss_dtype: takes the tensors and returns the dtype of the computation.

    Returns:
        A function of ``(*tensors, *options, reduction=...)``.
    """
    ops = getattr(torch.ops, namespace)

    def call(*args: Any, reduction: str) -> Tensor:
        tensors = args[:num_tensors]
        argument = tensors[0]
        with_grad = torch.is_grad_enabled() and argument.requires_grad and argument.dtype == loss_dtype(*tensors)
        loss, _ = getattr(ops, op)(*args, reduction != "none", with_grad)
        if reduction != "mean":
            return loss
        count = 1
        for size in argument.shape[:loss_dims]:
            count *= size
        return loss / max(count, 1)

    def fake(*args: Any) -> tuple[Tensor, Tensor]:
        tensors, (reduce, with_grad) = args[:num_tensors], args[-2:]
        argument = tensors[0]
        shape = () if reduce else argument.shape[:loss_dims]
        grad = argument.new_empty(argument.shape if with_grad else (0,))
        return argument.new_empty(shape, dtype=loss_dtype(*tensors)), grad

    def fake_backward(grad_loss: Tensor, argument: Tensor, *_: Any) -> Tensor:
        return argument.new_empty(argument.shape)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        grad = output[1]
        ctx.mark_non_differentiable(grad)
        ctx.set_materialize_grads(False)  # otherwise backward would get zeros of its size
        ctx.grad = grad if inputs[-1] else None  # not through save_for_backward: backward changes it in place
        ctx.save_for_backward(*inputs[:num_tensors])
        ctx.options = inputs[num_tensors:-2]

    def backward(ctx: Any, grad_loss: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        nothing = [None] * (num_tensors + len(ctx.options) + 1)
        if grad_loss is None:
            return None, *nothing
        grad, ctx.grad = ctx.grad, None
        if grad is None or torch.is_grad_enabled():
            grad = getattr(ops, f"{op}_backward")(grad_loss, *ctx.saved_tensors, *ctx.options)
        else:
            per_loss = (1,) * (grad.dim() - loss_dims) if grad_loss.dim() else ()
            scale = grad_loss.view(grad_loss.shape + per_loss)
            # a compiler that traces this decides about memory by itself, and a batch has several gradients
            in_place = type(grad) is Tensor and not is_batch_of_gradients(scale)
            grad = grad.mul_(scale) if in_place else grad * scale
        return grad, *nothing

    register_operator(
        namespace, op, fake=fake, fake_backward=fake_backward, setup_context=setup_context, backward=backward
    )
    return call
