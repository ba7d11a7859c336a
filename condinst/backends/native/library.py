"""Loads the operator library and says why not when it cannot be had."""

from __future__ import annotations

from pathlib import Path

import torch

PATH = Path(__file__).resolve().parents[2] / "libcondinst_ops.so"


def _load() -> str | None:
    if not PATH.exists():
        return f"the operator library {PATH.name} is not built; run `make install` or `pip install .`"
    try:
        torch.ops.load_library(str(PATH))
    except OSError as error:
        return f"the operator library {PATH.name} does not load: {error}"
    return None


ERROR = _load()
# registrations live as long as this object
_registrations = torch.library.Library("condinst", "IMPL")


def register_autocast_as_given(op: str) -> None:
    """Under autocast, ``torch.ops.condinst.<op>`` takes its arguments in the dtypes they have.

    For kernels that accumulate in float32 themselves. An operator that wants a cast uses
    ``torch.library.register_autocast`` instead.
    """
    for key in ("AutocastCPU", "AutocastCUDA"):
        _registrations.impl(op, torch.library.fallthrough_kernel, key)


def reason_against(op: str) -> str | None:
    """Why ``torch.ops.condinst.<op>`` cannot be called, or None."""
    if ERROR is None and not hasattr(torch.ops.condinst, op):
        return f"the operator library {PATH.name} is older than this package; build it again with `make install`"
    return ERROR
