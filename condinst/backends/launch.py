"""Launches Triton kernels."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


@cache
def kernels(op: str) -> ModuleType:
    """The Triton kernels of an operator, imported at the first call: Triton is slow to import, and may be missing."""
    return importlib.import_module(f"condinst.kernels.{op}.{op}_triton")


def launch(kernel: Any, programs: int, *args: Tensor | int | float, **constants: Any) -> None:
    """Run a kernel on the device of its first argument and on the current stream. Without programs, launch nothing.

    Args:
        kernel: a ``triton.jit`` function.
        programs: the number of programs. All are on axis 0, where a grid may be longer than 65535.
        *args: the arguments that vary from call to call.
        **constants: the ``tl.constexpr`` arguments, and options such as `num_warps`.
    """
    if programs == 0:
        return
    first = args[0]
    assert isinstance(first, Tensor)
    with torch.cuda.device_of(first):
        kernel[(programs,)](*args, **constants)


def as_bytes(targets: Tensor) -> Tensor:
    """The tensor made contiguous, and as uint8 if it is bool, because Triton reads bool as single bits."""
    targets = targets.contiguous()
    return targets.view(torch.uint8) if targets.dtype == torch.bool else targets
