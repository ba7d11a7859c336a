"""Builds NumPy arrays in pickles from their bytes, so that no value of the file reaches a constructor of NumPy."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import CheckpointError
from .pickle_values import Budget, Builder, Ignored, Stateful, TextArray

_NUMBERS: dict[str, np.dtype[Any]] = {
    f"{dtype.kind}{dtype.itemsize}": dtype
    for dtype in map(
        np.dtype,
        (
            *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
            *(np.float16, np.float32, np.float64),
        ),
    )
}
"""The dtypes that are read, by their code in pickles."""

_BYTE_ORDERS = ("<", ">", "=", "|")
_TEXT = re.compile(r"U\d{1,6}")
_MOST_TEXTS = 100_000  # of an array of text; a file has a few names of classes
_MOST_AXES = 64  # NumPy's and PyTorch's


class _Dtype(Stateful):
    """Stands in for `numpy.dtype`.

    Args:
        code: kind and size, such as "f4".
        align, copy: as in pickles; they have no effect on plain numbers.
    """

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        name = repr(code[:20]) if type(code) is str else f"a {type(code).__name__}"
        self.code = code if type(code) is str else ""
        self.unsupported = "" if self.code in _NUMBERS else f"an array of dtype {name}"
        self.order = "="
        self.native = _NUMBERS.get(self.code, np.dtype(np.uint8))
        self.stored = self.native

    def set_state(self, state: Any) -> None:
        """Takes (version, byte order, None, None, None, size, alignment, flags)."""
        _, order, *structure = _sequence(state, 8)
        if order not in _BYTE_ORDERS or any(part is not None for part in structure[:3]):
            self.unsupported = self.unsupported or "an array of a structured dtype"
            return
        self.order = order
        self.stored = self.native.newbyteorder(order)


class _Array(Stateful):
    """Stands in for an array until its state is read."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.values: NDArray[Any] | Ignored | None = None

    def set_state(self, state: Any) -> None:
        """Takes (version, shape, dtype, whether in Fortran order, bytes)."""
        _, shape, dtype, fortran, data = _sequence(state, 5)
        self.values = _read_array(data, dtype, shape, "F" if fortran else "C", self._budget)


def numpy_names(budget: Budget, size: int) -> Mapping[str, Any]:
    """What NumPy's names in a pickle stand for, of NumPy 1 and 2 and of Python 2 and 3.

    Args:
        budget: counts the bytes of the arrays.
        size: bytes of the file.
    """
    encoded = Budget(2 * size)  # a file has each text once, and the array that is made of it shares its bytes

    def scalar(dtype: Any, data: Any = None) -> NDArray[Any] | Ignored | str:
        value = _read_array(data, dtype, (), "C", budget)
        return value.texts[0] if isinstance(value, TextArray) else value

    def from_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> NDArray[Any] | Ignored:
        values = _read_array(data, dtype, shape, "C" if order == "K" else order, budget)
        if order != "K" or isinstance(values, Ignored):
            return values
        check_sizes(axes)  # in the order of the memory
        if sorted(axes) != list(range(values.ndim)):
            raise CheckpointError("refused: an array whose order of axes is not a permutation")
        return values.transpose(axes)

    def encode(text: Any, encoding: Any = "latin1") -> bytearray:
        if encoding not in ("latin1", "latin-1") or type(text) is not str:
            raise CheckpointError("refused: the pickle asks for another codec than latin-1")
        encoded.spend(len(text))
        return bytearray(text.encode("latin1"))

    return {
        # arguments of the next one
        "numpy.ndarray": None,
        "numpy.memmap": None,
        "numpy._core.memmap.memmap": None,
        "numpy._core.multiarray._reconstruct": Builder(lambda *_: _Array(budget)),
        "numpy._core.multiarray.scalar": Builder(scalar),
        "numpy._core.numeric._frombuffer": Builder(from_buffer),
        "numpy.dtype": Builder(_Dtype),
        **{f"numpy.{dtype.type.__name__}": None for dtype in _NUMBERS.values()},  # as values of options
        "_codecs.encode": Builder(encode),  # how bytes travel up to protocol 2,
        "builtins.bytes": Builder(lambda: bytearray()),  # but for no bytes
    }


def array_of(value: Any) -> NDArray[Any] | None:
    """The array that a value of a pickle is, if it is one of numbers."""
    if isinstance(value, _Array):
        value = value.values
    return value if isinstance(value, np.ndarray) else None


def ignored_value(value: Any) -> Ignored | None:
    """What stands in for a value that is not read, such as an array of objects; None for all other values."""
    if isinstance(value, _Array):
        value = value.values
    return value if isinstance(value, Ignored) else None


def check_sizes(sizes: Any) -> None:
    """Raises CheckpointError unless these are the sides (or strides) of an array."""
    plain = type(sizes) is tuple and len(sizes) <= _MOST_AXES
    if not plain or not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
        raise CheckpointError("refused: an array whose shape is not a tuple of whole numbers")


def _sequence(state: Any, length: int) -> tuple[Any, ...]:
    """The first entries of a state."""
    if type(state) is not tuple or len(state) < length:
        raise CheckpointError(f"refused: an array or dtype whose state is not a tuple of at least {length} entries")
    return state[:length]


def _read_array(data: Any, dtype: Any, shape: Any, order: Any, budget: Budget) -> NDArray[Any] | Ignored:
    """An array of numbers, or what stands in for one of something else, which may lie beside the weights."""
    if not isinstance(dtype, _Dtype) or not dtype.unsupported:
        return _make_array(data, dtype, shape, order, budget)
    if not _TEXT.fullmatch(dtype.code) or type(data) not in (bytearray, memoryview):
        return Ignored(dtype.unsupported)
    length = max(int(dtype.code[1:]), 1)
    if len(data) > 4 * length * _MOST_TEXTS:
        return Ignored(dtype.unsupported)
    budget.spend(len(data))
    order = {"<": "little", ">": "big"}.get(dtype.order, sys.byteorder)
    text = bytes(data).decode("utf-32-be" if order == "big" else "utf-32-le")
    return TextArray([text[begin : begin + length].rstrip("\0") for begin in range(0, max(len(text), 1), length)])


def _make_array(data: Any, dtype: Any, shape: Any, order: Any, budget: Budget) -> NDArray[Any]:
    """The array, in the byte order of this machine; it shares the memory of `data` if that has the same byte order."""
    if type(data) is str:  # a short string of bytes from Python 2
        data = bytearray(data.encode("latin1"))
    if type(data) not in (bytearray, memoryview) or not isinstance(dtype, _Dtype) or order not in ("C", "F"):
        raise CheckpointError("refused: an array without bytes, a dtype of numbers and an order")
    check_sizes(shape)
    nbytes = math.prod(shape) * dtype.stored.itemsize
    if nbytes != len(data):
        raise CheckpointError(f"refused: an array of {nbytes} bytes with {len(data)} bytes of data")
    budget.spend(nbytes)
    values = np.frombuffer(data, dtype.stored).astype(dtype.native, copy=False)
    if dtype.native == np.bool_:
        values = values.view(np.uint8) != 0  # computing with a bool whose byte is 2 is undefined
    return values.reshape(shape, order=order)
