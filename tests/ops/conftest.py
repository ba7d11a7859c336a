"""Corrects Triton's interpreter for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from condinst.backends.registry import TRITON_INTERPRETED


@pytest.fixture(scope="session", autouse=True)
def bfloat16_in_the_interpreter() -> Iterator[None]:
    """Triton 3.8's interpreter truncates to bfloat16, where GPUs round, and reads bfloat16 as integers in float64."""
    if not TRITON_INTERPRETED:
        yield
        return
    from triton import language as tl
    from triton.runtime import interpreter

    builder = interpreter.InterpreterBuilder
    cast = builder.cast_impl
    dtypes = {tl.bfloat16: torch.bfloat16, tl.float16: torch.float16, tl.float32: torch.float32}
    dtypes[tl.float64] = torch.float64

    def rounding_cast(self: Any, source: Any, target: Any) -> Any:
        before, after = source.dtype.scalar, target.scalar
        if tl.bfloat16 not in (before, after) or not {before, after} <= dtypes.keys():
            return cast(self, source, target)
        values = torch.from_numpy(np.array(source.data))
        values = values.view(torch.bfloat16) if before == tl.bfloat16 else values
        values = values.to(dtypes[after])
        data = values.view(torch.uint16) if after == tl.bfloat16 else values
        return interpreter.TensorHandle(data.numpy(), after)

    builder.cast_impl = rounding_cast
    yield
    builder.cast_impl = cast
