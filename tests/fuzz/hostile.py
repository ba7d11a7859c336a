"""Strategies that take a valid call and put something else in the place of one or two of its arguments."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from condinst.testing import OpSpec, Sample

INTEGERS = (-(2**63), -(2**31), -1, 0, 1, 3, 7, 2**16, 2**31 - 1, 2**31, 2**32, 2**33, 2**62, 2**63 - 1)
BEYOND = (2**63, 2**64, 2**70, 10**30)
"""Integers that PyTorch's own argument parser cannot take."""

FLOATS = (float("nan"), float("inf"), float("-inf"), -0.0, 0.0, -1.0, 0.5, 1.5, 1e-320, 1e300)
INDICES = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 100, 2**31, 2**40, 2**62, 2**63 - 1)
DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
)


@st.composite
def _tensors(draw: Any, like: Tensor) -> Any:
    """Another tensor in the place of one: other shapes, dtypes, devices and values."""
    if like.is_meta or like.layout != torch.strided:  # replaced before
        return like
    kind = draw(st.sampled_from(("shape", "dtype", "values", "fewer", "more", "empty", "meta", "sparse", "gradient")))
    if kind == "shape":
        shape = draw(st.lists(st.integers(0, 5), max_size=5))
        return torch.zeros(shape, dtype=like.dtype)
    if kind == "dtype":
        return like.to(draw(st.sampled_from(DTYPES)))
    if kind == "values":
        odd = INDICES if like.dtype == torch.int64 else FLOATS
        if like.numel() == 0 or not (like.is_floating_point() or like.dtype == torch.int64):
            return like
        values = like.detach().clone(memory_format=torch.contiguous_format)
        place = draw(st.integers(0, like.numel() - 1))
        values.view(-1)[place] = torch.tensor(draw(st.sampled_from(odd))).to(like.dtype)
        return values
    if kind == "fewer" and like.dim():
        return like.narrow(draw(st.integers(0, like.dim() - 1)), 0, 0)
    if kind == "more" and like.dim():
        return torch.cat([like, like], dim=draw(st.integers(0, like.dim() - 1)))
    if kind == "meta":
        return like.to("meta")
    if kind == "sparse" and like.dim():
        return like.to_sparse()
    if kind == "gradient" and like.is_floating_point():
        return like.detach().requires_grad_()
    return like[:0] if like.dim() else like


@st.composite
def _replacements(draw: Any, value: Any, *, raw: bool) -> Any:
    if isinstance(value, Tensor) and draw(st.integers(0, 9)):
        return draw(_tensors(value))
    if isinstance(value, bool):
        return draw(st.sampled_from((not value, 2, None)))
    if isinstance(value, int) and draw(st.integers(0, 9)):
        return draw(st.sampled_from(INTEGERS if raw else INTEGERS + BEYOND))
    if isinstance(value, float) and draw(st.integers(0, 9)):
        return draw(st.sampled_from(FLOATS))
    if isinstance(value, list | tuple) and value and draw(st.integers(0, 9)):
        kind = draw(st.sampled_from(("item", "item", "item", "fewer", "more")))
        items = list(value)
        if kind == "fewer":
            items = items[:-1]
        elif kind == "more":
            items.append(items[-1])
        else:
            place = draw(st.integers(0, len(items) - 1))
            items[place] = draw(_replacements(items[place], raw=raw))
        return type(value)(items)
    return draw(st.sampled_from((None, "x", True, 1.5, -1, [], (3,), [[]], {}, b"")))


@st.composite
def hostile_calls(draw: Any, spec: OpSpec) -> Sample:
    """Calls of the public function with one or two arguments replaced."""
    dtype = draw(st.sampled_from(spec.dtypes))
    sample = draw(st.sampled_from(spec.samples(dtype, torch.device("cpu"))))
    args, kwargs = list(sample.args), dict(sample.kwargs)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from((*range(len(args)), *kwargs)))
        if isinstance(place, int):
            args[place] = draw(_replacements(args[place], raw=False))
        else:
            kwargs[place] = draw(_replacements(kwargs[place], raw=False))
    return Sample(f"{dtype}, {sample.name}: {_described(args)}, {_described(kwargs)}", tuple(args), kwargs)


@st.composite
def hostile_native_calls(draw: Any, spec: OpSpec) -> tuple[str, tuple[Any, ...]]:
    """Calls of ``torch.ops.condinst`` with one or two arguments replaced: (name, arguments)."""
    name, args = draw(st.sampled_from(spec.native_calls(torch.device("cpu"))))
    replaced = list(args)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(replaced) - 1))
        replaced[place] = draw(_replacements(replaced[place], raw=True))
    return name, tuple(replaced)


def _described(value: Any) -> str:
    """Arguments in words: of a tensor its dtype, shape and strides."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)} {value.device}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_described, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_described(item)}' for key, item in value.items())}}}"
    return repr(value)
