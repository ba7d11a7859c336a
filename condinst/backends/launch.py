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
    """The Triton kernels of an operator. Imported at the first call, as Triton takes its time and may be missing."""
    return importlib.import_module(f"condinst.kernels.{op}.{op}_triton")


def launch(kernel: Any, programs: int, *args: Tensor | int | float, **constants: Any) -> None:
    """Run a kernel on the device of its first argument and on the current stream; nothing at all for no programs.

    Args:
        kernel: a ``triton.jit`` function.
        programs: how many run; all are on axis 0, where a grid may be longer than 65535.
        *args: what varies from call to call.
        **constants: the ``tl.constexpr`` arguments, and options such as `num_warps`.
    """
    if programs == 0:
        return
    first = args[0]
    assert isinstance(first, Tensor)
    with torch.cuda.device_of(first):
        kernel[(programs,)](*args, **constants)


def as_bytes(targets: Tensor) -> Tensor:
    """Contiguous, and uint8 if bool: Triton takes bool for single bits."""
    targets = targets.contiguous()
    return targets.view(torch.uint8) if targets.dtype == torch.bool else targets
