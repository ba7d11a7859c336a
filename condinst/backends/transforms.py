"""Which transforms of PyTorch a tensor takes part in: those of ``torch.func``, and forward-mode differentiation.

A kernel sees the values of a tensor alone. What it is registered with is a formula for ``backward()``: the tangent of a
forward-mode derivative would be lost without a word, and ``torch.func.grad`` cannot use the formula.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad


def _transforms_active() -> bool:
    return torch._C._are_functorch_transforms_active()


# Dynamo asks while it traces, when the transforms in the traced code are active, and guards on those around it.
_transforms_active._dynamo_marked_constant = True  # type: ignore[attr-defined]


def has_readable_values(tensor: Tensor) -> bool:
    """Whether Python may branch on the values of a tensor: not under compilation, ``vmap`` or ``make_fx``."""
    if torch.compiler.is_compiling() or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        return False
    return not (_transforms_active() and torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def is_transformed(*tensors: Tensor) -> bool:
    """Whether one of the tensors takes part in a transform of ``torch.func`` or has a tangent.

    In code that is compiled this is whether there is a transform, as Dynamo cannot ask its tensors.
    """
    if _transforms_active():
        return torch.compiler.is_compiling() or any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors))
    return has_tangent(*tensors)


def has_tangent(*tensors: Tensor) -> bool:
    """Whether one of the tensors is a dual tensor of ``torch.autograd.forward_ad``."""
    if forward_ad._current_level < 0:
        return False
    return torch.compiler.is_compiling() or any(
        forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors
    )


def is_differentiated(tensor: Tensor) -> bool:
    """Whether a transform of ``torch.func`` or forward-mode AD differentiates by a tensor; False in compiled code."""
    if torch.compiler.is_compiling():
        return False
    wrapped = _transforms_active() and torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return (wrapped and tensor.requires_grad) or has_tangent(tensor)


def is_batch_of_gradients(grad: Tensor) -> bool:
    """Whether a gradient in ``backward()`` is a batch of them, from ``torch.autograd.grad(is_grads_batched=True)``."""
    return torch._C._functorch.is_legacy_batchedtensor(grad)


def no_tangents() -> forward_ad._set_fwd_grad_enabled:
    """For forward-mode derivatives what ``torch.no_grad()`` is for ``backward()``: results are constants."""
    return forward_ad._set_fwd_grad_enabled(False)
