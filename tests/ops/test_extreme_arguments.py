"""Operators called with extreme numbers, shapes and addresses return a result or raise an exception. They never crash.

The calls are those of the OpSpecs, with one argument replaced at a time. `make sanitize` runs the same tests with a
library that reports every access out of bounds and every overflow.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from condinst import ops
from condinst.backends import backend_table
from condinst.messages import shorten
from condinst.ops.common.checks import MOST_SIDE
from condinst.testing import OpSpec
from condinst.testing.specs import ALL_SPECS
from tests.memory import memory_limit
from tests.ops.documented import check_documented

CPU = torch.device("cpu")
NATIVE = {row.op for row in backend_table() if row.backend == "cpp" and row.status == "available"}
WRITTEN = [spec for spec in ALL_SPECS if spec.name in NATIVE]
each_spec = pytest.mark.parametrize("spec", WRITTEN, ids=lambda spec: spec.name)
each_backend = pytest.mark.parametrize("backend", ["reference", "cpp"])

INTEGERS = (0, -1, 1 << 30, 1 << 31, (1 << 32) + 1, 1 << 33, 1 << 62, (1 << 63) - 1, -(1 << 63))
PAIRS = ((1 << 32, 1 << 32), (1 << 33, 1 << 31), (1 << 62, 4), (3, 6148914691236517206), ((1 << 63) - 1, (1 << 63) - 1))
"""Products and sums of these wrap to 0, to 2, or to -2."""
FLOATS = (0.0, -1.0, 1e300, float("inf"), float("-inf"), float("nan"))
OTHERS: tuple[Any, ...] = (1 << 63, 1 << 70, 10**5000, True, 1.5, "1", None, [], {}, (1,), (1, 1, 1), (0.5, 0.5))
"""What no operator of PyTorch takes for an integer."""


@pytest.fixture(autouse=True)
def limited_memory() -> Iterator[None]:
    """At most 512 MiB more than now, so that huge results are refused and not allocated."""
    with memory_limit(512 << 20):
        yield


def _replacements(value: Any, numbers: tuple[Any, ...]) -> Iterator[Any]:
    """`value` with one number in it replaced, or with more or fewer numbers."""
    if isinstance(value, list | tuple):
        for index, element in enumerate(value):
            for other in _replacements(element, numbers):
                yield type(value)([*value[:index], other, *value[index + 1 :]])
        for pair in PAIRS if all(isinstance(element, int) for element in value) else ():
            for index in range(len(value) - 1):
                yield type(value)([*value[:index], *pair, *value[index + 2 :]])
        yield from (type(value)(), type(value)([*value, *value[:1]]), value[:1])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from numbers


def _shown(value: Any) -> str:
    return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else shorten(value)


@each_spec
@each_backend
def test_options_of_the_public_function(spec: OpSpec, backend: str) -> None:
    sample = spec.samples(torch.float32, CPU)[0]
    for name, parameter in inspect.signature(spec.op).parameters.items():
        if parameter.kind != parameter.KEYWORD_ONLY:
            continue
        value = sample.kwargs.get(name, parameter.default)
        for other in (*_replacements(value, (*INTEGERS, *FLOATS, *OTHERS)), *OTHERS):
            options = {"backend": backend, **sample.kwargs, name: other}
            check_documented(spec, partial(spec.op, *sample.args, **options), f"{name} = {_shown(other)}")


@each_spec
@each_backend
def test_tensors_of_the_public_function(spec: OpSpec, backend: str) -> None:
    sample = spec.samples(torch.float32, CPU)[0]
    for index, value in enumerate(sample.args):
        for other in (*_tensors(value), *OTHERS) if isinstance(value, Tensor) else OTHERS:
            args = (*sample.args[:index], other, *sample.args[index + 1 :])
            what = f"argument {index}: {list(other.shape)}" if isinstance(other, Tensor) else _shown(other)
            check_documented(spec, partial(spec.op, *args, **sample.kwargs, backend=backend), what)


def _raw_changes(args: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for index, value in enumerate(args):
        changes: list[Any] = [*_replacements(value, INTEGERS)]
        if isinstance(value, float):
            changes = [*FLOATS]
        if isinstance(value, Tensor):
            changes = [*_tensors(value)]
        for other in changes:
            yield (*args[:index], other, *args[index + 1 :])
    for index in range(len(args) - 1):
        if all(isinstance(arg, int) and not isinstance(arg, bool) for arg in args[index : index + 2]):
            for pair in PAIRS:
                yield (*args[:index], *pair, *args[index + 2 :])


def _tensors(tensor: Tensor) -> Iterator[Tensor]:
    """Tensors that could be taken for this one: other shapes, dtypes and values."""
    for dim in range(tensor.dim()):
        size = tensor.shape[dim]
        yield tensor.narrow(dim, 0, 0)
        yield tensor.narrow(dim, 0, max(size - 1, 0))
        yield torch.cat([tensor, tensor], dim)
        for huge in (MOST_SIDE, 1 << 40, 1 << 62):
            ones = [huge if other == dim else 1 for other in range(tensor.dim())]
            yield tensor.new_zeros(1).as_strided(ones, [0] * tensor.dim())
            if tensor.dim() > 1:  # empty
                zeros = [size if other == dim else 0 for other, size in enumerate(ones)]
                yield tensor.new_zeros(1).as_strided(zeros, [0] * tensor.dim())
    if tensor.dim() > 2:
        yield tensor.new_zeros(1).as_strided([0] + [1 << 62] * (tensor.dim() - 1), [0] * tensor.dim())
    yield from (tensor[None], tensor.flatten(), tensor.flatten()[:1].squeeze())
    yield from (tensor.to(dtype) for dtype in (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16))
    yield tensor.double()
    if tensor.is_floating_point():
        extremes = (torch.nan, torch.inf, -torch.inf, torch.finfo(tensor.dtype).max)
        yield from (torch.full_like(tensor, value) for value in extremes)
    elif tensor.dtype == torch.int64:
        yield from (torch.full_like(tensor, value) for value in INTEGERS)


@each_spec
def test_raw_operator(spec: OpSpec) -> None:
    """``torch.ops.condinst`` refuses what does not fit, and neither reads nor writes beyond its tensors."""
    refused = 0
    for name, args in spec.native_calls(CPU)[:2]:
        operator = getattr(torch.ops.condinst, name)
        for changed in _raw_changes(args):
            try:
                operator(*changed)
            except (RuntimeError, ValueError, TypeError, MemoryError):
                refused += 1
    assert refused > 10


def test_levels_whose_number_of_cells_wraps() -> None:
    """The first level has -k cells modulo 2^64, so that both have as many as there are locations."""
    num_locations, k = 20, 5_000_000
    height = next(h for h in range(3, 10**6, 2) if (-k * pow(h, -1, 1 << 64)) % (1 << 64) < 1 << 63)
    width = (-k * pow(height, -1, 1 << 64)) % (1 << 64)
    sizes = [height, width, 1, num_locations + k]
    args = (torch.zeros(1, num_locations, 1), torch.zeros(1, num_locations), torch.zeros(1, num_locations, 4))
    with pytest.raises(RuntimeError, match="level_sizes"):
        torch.ops.condinst.decode_detections(*args, sizes, [8, 8], 0.01, 10**9, True)
    # The product is below 2^63 for sides that are small enough, and the number of classes can be 0.
    sizes = [1 << 30, 1 << 30] * 4 + [1, num_locations]
    with pytest.raises(RuntimeError, match="level_sizes"):
        torch.ops.condinst.decode_detections(args[0][..., :0], *args[1:], sizes, [8] * 5, 0.01, 10**9, True)


def test_images_of_nearly_the_most_pixels() -> None:
    """The operator and the public function have one bound."""
    logits = torch.full((1, 2, 2), -9.0)
    encoded = ops.masks_to_rle(logits, network_size=(8, 8), output_size=(46339, 46342), backend="cpp")
    assert encoded.areas.tolist() == [0]
    with pytest.raises(ValueError, match="output_size: expected less than 2"):
        ops.masks_to_rle(logits, network_size=(8, 8), output_size=(46341, 46342), backend="cpp")


def _unaligned(tensor: Tensor) -> Tensor:
    """The same values at an odd address."""
    memory = bytearray(tensor.numel() * tensor.element_size() + 1)
    odd = torch.frombuffer(memory, dtype=tensor.dtype, offset=1).view(tensor.shape)
    return odd.copy_(tensor)


@each_spec
def test_unaligned_tensors(spec: OpSpec) -> None:
    """PyTorch does not promise aligned addresses, and the result does not depend on them."""
    for name, args in spec.native_calls(CPU):
        operator = getattr(torch.ops.condinst, name)
        odd = [_unaligned(arg) if isinstance(arg, Tensor) and arg.numel() else arg for arg in args]
        torch.testing.assert_close(operator(*odd), operator(*args), rtol=0, atol=0, equal_nan=True)
