"""The backends of one operator as parameters of its tests.

`make gpu` runs tests with the mark `gpu`. So each case that computes on a GPU gets the mark here.
"""

from __future__ import annotations

from typing import Any

import pytest

from condinst.backends import backend_table
from condinst.backends.registry import DEVICES


def device_of(backend: str) -> str:
    """The device of the tensors in a test of a backend. The reference runs everywhere, and is tested on the CPU."""
    return "cpu" if backend == "reference" else DEVICES[backend][0]


def param(*values: Any, device: str, id: str | None = None) -> Any:
    """A case of `pytest.mark.parametrize`, with the mark `gpu` if it computes on a GPU."""
    return pytest.param(*values, id=id, marks=[pytest.mark.gpu] if device == "cuda" else [])


def backends_of(op: str, *, without: str | None = None) -> list[Any]:
    """The available backends, for tests that put their tensors on `device_of(backend)`."""
    return [param(backend, device=device_of(backend)) for backend in _available(op) if backend != without]


def cpu_backends_of(op: str, *, without: str | None = None) -> list[str]:
    """The available backends that compute on the CPU, for tests whose tensors are there."""
    return [backend for backend in _available(op) if device_of(backend) == "cpu" and backend != without]


def _available(op: str) -> list[str]:
    return [row.backend for row in backend_table() if row.op == op and row.status == "available"]
