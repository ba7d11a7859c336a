"""Loads the operator library, and gives the reason if it cannot be loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condinst.backends.registry import register
from condinst.backends.torch_library import has_gradient

BUILT = Path(__file__).resolve().parents[1] / "libcondinst_ops.so"
PATH = Path(os.environ.get("CONDINST_LIBRARY") or BUILT)
"""The library that this process uses. Tests set the variable to run CUDA kernels that are built for the host."""


def _load() -> str | None:
    if not PATH.exists():
        return f"the operator library {PATH.name} is not built; run `make install` or `pip install .`"
    try:
        torch.ops.load_library(str(PATH))
    except OSError as error:
        return f"the operator library {PATH.name} does not load: {error}"
    return None


ERROR = _load()


def reason_against(op: str) -> str | None:
    """Why ``torch.ops.condinst.<op>`` cannot be called, or None."""
    if ERROR is None and not hasattr(torch.ops.condinst, op):
        return f"the operator library {PATH.name} is older than this package; build it again with `make install`"
    return ERROR


def register_native(
    op: str,
    register_operator: Callable[[str], Callable[..., Any]],
    unsupported_reason: Callable[..., str | None] | None = None,
) -> None:
    """Register ``torch.ops.condinst.<op>`` as the backends "cpp" and "cuda" of an operator.

    Args:
        op: its name.
        register_operator: registers the fake kernel and the gradient in a namespace, and returns a function with the
            signature of the reference.
        unsupported_reason: returns why neither backend can do a call, see `condinst.backends.registry`.
    """

    def unsupported_on_cuda(*tensors: Tensor, **options: Any) -> str | None:
        reason = None if unsupported_reason is None else unsupported_reason(*tensors, **options)
        return _float64_on_cuda(*tensors) if reason is None else reason

    call = register_operator("condinst")
    backends = (
        ("cpp", reason_against(op), unsupported_reason),
        ("cuda", _reason_against_cuda(op), unsupported_on_cuda),
    )
    for backend, unavailable, unsupported in backends:
        register(
            op,
            backend,
            call,
            unavailable=unavailable,
            unsupported_reason=unsupported,
            backward_only=has_gradient("condinst", op),
        )


def _reason_against_cuda(op: str) -> str | None:
    """Why ``torch.ops.condinst.<op>`` cannot compute on a CUDA device here, or None."""
    reason = reason_against(op)
    if reason is not None:
        return reason
    if not torch._C._dispatch_has_kernel_for_dispatch_key(f"condinst::{op}", "CUDA"):
        return f"the operator library has no CUDA kernels: {torch.ops.condinst.cuda_info()}"
    # This check does not start CUDA, which would break processes that are forked later.
    if torch.cuda.device_count() == 0:
        return "PyTorch finds no CUDA device"
    return None


def _float64_on_cuda(*tensors: Tensor) -> str | None:
    """Why the CUDA kernels cannot compute on these tensors, or None."""
    if any(tensor.dtype == torch.float64 for tensor in tensors):
        return "the CUDA kernels have no float64; use backend='reference'"
    return None
