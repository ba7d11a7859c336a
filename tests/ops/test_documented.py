"""The check of exceptions lets those pass that operators document, and no others."""

from __future__ import annotations

from typing import NoReturn

import pytest

from condinst.ops.nms import spec as nms
from tests.ops.documented import check_documented


def _raise(error: Exception) -> NoReturn:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("boxes: expected [N, 4], got [3]"),
        TypeError("iou_threshold: expected a number, got str 'x'"),
        ValueError("nms: backend 'cpp' cannot compute on meta tensors"),
        ValueError("labels, images: expected equal lengths"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
        MemoryError("std::bad_alloc"),
    ],
)
def test_documented_exceptions_pass(error: Exception) -> None:
    check_documented(nms.SPEC, lambda: _raise(error), "a call")


@pytest.mark.parametrize(
    "error",
    [
        TypeError("sigmoid(): argument 'input' (position 1) must be Tensor, not: str"),
        ValueError("Exceeds the limit (4300 digits) for integer string conversion: value has 5001 digits"),
        ValueError("boxes are wrong"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        IndexError("boxes: index out of range"),
    ],
)
def test_other_exceptions_fail(error: Exception) -> None:
    with pytest.raises((AssertionError, IndexError)):
        check_documented(nms.SPEC, lambda: _raise(error), "a call")
