"""Registers the rules of an operator and of its backward with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch

from condinst.backends.transforms import has_tangent

# registrations live as long as these objects
_libraries: list[torch.library.Library] = []


def register_operator(
    namespace: str,
    op: str,
    *,
    fake: Callable[..., Any],
    fake_backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> None:
    """Give ``torch.ops.<namespace>.<op>`` and ``<op>_backward`` fake kernels, a gradient and an autocast rule.

    An operator without a gradient has no `backward`: `condinst.ops` calls it under ``no_grad``.

    Under autocast the operator takes its arguments in the dtypes they have: for kernels that compute in float32 from
    half precision, a cast would only copy. A second derivative, and a tangent that reaches the backward pass, are
    refused with a message; the registry refuses the other transforms that the kernels cannot follow, see
    `has_gradient`. Where the namespace has no such operator (a library that is not built), nothing happens: the
    registry knows why.

    Args:
        namespace: namespace of both operators.
        op: name of the operator.
        fake: takes the arguments of ``<op>`` and returns empty results.
        fake_backward: the same for ``<op>_backward``; None when there is no such operator.
        setup_context: saves what `backward` needs; see ``torch.library.register_autograd``.
        backward: takes the context and the gradients of the results, and returns the gradients of the arguments.
    """

    def second_derivative(ctx: Any, *grads: Any) -> NoReturn:
        raise NotImplementedError(f"{op}: the native backends have no second derivative; use backend='reference'")

    def first_derivative(ctx: Any, *grads: Any) -> Any:
        if has_tangent(*(grad for grad in grads if grad is not None)):
            raise NotImplementedError(
                f"{op}: the native backends have no forward-mode derivative of their gradient; use backend='reference'"
            )
        assert backward is not None
        return backward(ctx, *grads)

    if not hasattr(getattr(torch.ops, namespace), op):
        return
    torch.library.register_fake(f"{namespace}::{op}", fake)
    if fake_backward is not None:
        torch.library.register_fake(f"{namespace}::{op}_backward", fake_backward)
        torch.library.register_autograd(f"{namespace}::{op}_backward", second_derivative)
    if backward is not None:
        torch.library.register_autograd(f"{namespace}::{op}", first_derivative, setup_context=setup_context)
    library = torch.library.Library(namespace, "IMPL")
    for key in ("AutocastCPU", "AutocastCUDA"):
        library.impl(op, torch.library.fallthrough_kernel, key)
    _libraries.append(library)


def has_gradient(namespace: str, op: str) -> bool:
    """Whether `register_operator` has given ``torch.ops.<namespace>.<op>`` a gradient; not if there is no library."""
    return hasattr(getattr(torch.ops, namespace), op) and torch._C._dispatch_has_kernel_for_dispatch_key(
        f"{namespace}::{op}", "Autograd"
    )
