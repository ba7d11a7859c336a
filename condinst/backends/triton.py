"""The namespace of the Triton operators: defines them, and checks whether they can run on this machine."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from condinst.backends.registry import TRITON_INTERPRETED, register
from condinst.backends.torch_library import has_gradient

NAMESPACE = "condinst_triton"

# The definitions live as long as this object.
_library = torch.library.Library(NAMESPACE, "DEF")


def _reason_against() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if not TRITON_INTERPRETED and torch.cuda.device_count() == 0:
        return "PyTorch finds no CUDA device (and TRITON_INTERPRET=1 is not set)"
    try:
        importlib.import_module("triton")
    except (ImportError, OSError) as error:
        return f"Triton does not load: {error}"
    return None


UNAVAILABLE = _reason_against()
"""Why Triton kernels cannot run here, or None."""


@cache
def _start() -> str | None:
    """Why Triton's driver does not start, or None.

    Triton compiles a part of its driver with a C compiler and Python's header files, and stores it in a folder. Any of
    these may be missing, and each case raises a different type of exception.
    """
    try:
        _ = importlib.import_module("triton").runtime.driver.active
    except Exception as error:
        return f"Triton does not start: {error}"
    return None


def startup_reason() -> str | None:
    """Why Triton cannot launch kernels on a GPU here, or None. The first call starts CUDA."""
    return _start()


# The same as torch.compiler.assume_constant_result, which would import Dynamo and so slow down the import of condinst.
startup_reason._dynamo_marked_constant = True  # type: ignore[attr-defined]


def float64_reason(*tensors: Tensor) -> str | None:
    """Why the Triton kernels cannot compute on these tensors, or None. For tests, the interpreter accepts float64."""
    if not TRITON_INTERPRETED and any(tensor.dtype == torch.float64 for tensor in tensors):
        return "the Triton kernels are not made for float64; use backend='reference'"
    return None


def define(schema: str, function: Callable[..., Any]) -> None:
    """Define ``torch.ops.condinst_triton.<name>``.

    Args:
        schema: name, arguments and results, as in csrc/.
        function: launches the kernels.
    """
    name = schema.partition("(")[0]
    _library.define(schema)
    _library.impl(name, function, "CUDA")
    if TRITON_INTERPRETED:
        _library.impl(name, function, "CPU")


def register_triton(
    op: str,
    register_operator: Callable[[str], Callable[..., Any]],
    unsupported_reason: Callable[..., str | None] | None = None,
) -> None:
    """Register ``torch.ops.condinst_triton.<op>`` as the backend "triton" of an operator."""
    call = register_operator(NAMESPACE)
    register(
        op,
        "triton",
        call,
        unavailable=UNAVAILABLE,
        startup_reason=None if TRITON_INTERPRETED else startup_reason,
        unsupported_reason=unsupported_reason or float64_reason,
        backward_only=has_gradient(NAMESPACE, op),
    )
