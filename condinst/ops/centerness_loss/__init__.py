"""`centerness_loss`: binary cross entropy of the centre-ness (section 3.3)."""

from __future__ import annotations

from torch import Tensor

from condinst.backends import select
from condinst.ops.common.checks import (
    FLOATING,
    check_choice,
    check_constant,
    check_dims,
    check_same_shape,
    check_tensor,
)


def centerness_loss(logits: Tensor, targets: Tensor, *, reduction: str = "sum", backend: str | None = None) -> Tensor:
    """Binary cross entropy between sigmoid(x) and a target y: ``max(x, 0) - x * y + log(1 + exp(-|x|))``.

    Args:
        logits: [N] floating; computed in float32, or in float64 if it is float64.
        targets: [N] floating, in 0..1; it has no gradient.
        reduction: "sum", "mean" (0 for N = 0) or "none".
        backend: see `condinst.backends.registry`.

    Returns:
        [] or, with "none", [N], in the dtype of the computation.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes that do not fit, or an unknown reduction.
        NotImplementedError: ``torch.func`` or forward-mode AD differentiates by `targets`.
    """
    check_tensor("logits", logits, FLOATING)
    check_dims("logits", logits, 1)
    check_tensor("targets", targets, FLOATING)
    check_same_shape("targets", targets, "logits", logits)
    check_choice("reduction", reduction, ("sum", "mean", "none"))
    check_constant("targets", targets)
    targets = targets.detach()
    return select("centerness_loss", backend, logits, targets)(logits, targets, reduction=reduction)
