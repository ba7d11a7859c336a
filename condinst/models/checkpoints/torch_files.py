"""Reads files of `torch.save`: current zip archives, and the plain pickles from before PyTorch 1.6.

`torch.load(weights_only=True)` only calls functions that it knows, but it does not check the sizes in the file: a view
that is larger than its storage makes it allocate the rest, and compressed records grow a thousandfold.
"""

from __future__ import annotations

import io
import math
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .arrays import check_sizes, numpy_names
from .errors import CUT_OFF, CheckpointError
from .formats import describe_archive
from .pickle_values import Budget, Builder, containers
from .pickles import read_pickle

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # the beginning of a file from before PyTorch 1.6
_ZIP = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip record: the lengths of its name and extra field

_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
"""The dtypes that are read, by the beginning of the name of their storage."""

_UNTYPED_DTYPES = (torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2)
"""The dtypes without a storage type: their tensors are views of bytes, and name the dtype."""


class _StorageType:
    """A class of storages; without a dtype, of bytes."""

    def __init__(self, dtype: torch.dtype | None) -> None:
        self.dtype = torch.uint8 if dtype is None else dtype


class _Storage:
    """The numbers that tensors are views of.

    Args:
        data: uint8 [N], the bytes of the numbers, which may be filled later.
        dtype: dtype of the numbers.
    """

    def __init__(self, data: Tensor, dtype: torch.dtype) -> None:
        self.bytes = data
        self.dtype = dtype

    def fill(self, file: io.BufferedIOBase) -> None:
        """Reads the bytes from a file."""
        if file.readinto(self.bytes.numpy().data) != len(self.bytes):
            raise CheckpointError(CUT_OFF)
        if self.dtype == torch.bool:
            self.bytes.ne_(0)  # computing with a bool whose byte is 2 is undefined

    def part(self, first: int, count: int) -> _Storage:
        """A part of the numbers."""
        begin, end = _whole(first) * self.dtype.itemsize, _whole(first + count) * self.dtype.itemsize
        if not begin <= end <= len(self.bytes):
            raise ValueError("a view beyond its storage")
        return _Storage(self.bytes[begin:end], self.dtype)


class _Storages:
    """The storages of a file by their names.

    Args:
        budget: limits their bytes.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._storages: dict[str, _Storage] = {}

    def add(self, key: Any) -> tuple[_Storage, bool]:
        """The storage of a persistent id ("storage", type, name, device, numbers), and whether it is new."""
        kind, storage_type, name, _, numel = key
        if kind != "storage" or not isinstance(storage_type, _StorageType) or type(name) is not str:
            raise CheckpointError("refused: a persistent id that is not a storage")
        dtype = storage_type.dtype
        nbytes = _whole(numel) * dtype.itemsize
        new = name not in self._storages
        if new:
            self._budget.spend(nbytes)
            self._storages[name] = _Storage(torch.empty(nbytes, dtype=torch.uint8), dtype)
        storage = self._storages[name]
        if (storage.dtype, len(storage.bytes)) != (dtype, nbytes):
            raise ValueError(f"the storage {name} has two dtypes or sizes")
        return storage, new

    def in_order(self, names: Any) -> list[_Storage]:
        """All storages, in the order of a list of their names."""
        if type(names) is not list or not all(type(name) is str for name in names):
            raise ValueError("the names of the storages are not a list of strings")
        if sorted(names) != sorted(self._storages):
            raise ValueError("the storages that follow are not those of the tensors")
        return [self._storages[name] for name in names]


def read_torch(path: Path, hint: Callable[[str], str]) -> Any:
    """What `torch.save` or `pickle.dump` wrote: tensors, arrays of numbers, plain containers and plain values.

    All is on the CPU. The content of the file decides how it is read, its name does not.

    Args:
        path: the file.
        hint: takes an unknown name, and returns an addition to the message.

    Raises:
        CheckpointError: a file that asks for anything else, or for more memory than its size explains.
        Exception: a damaged file; the type depends on the damage.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return _read(file, size, hint)


def _read(file: io.BufferedIOBase, size: int, hint: Callable[[str], str], *, nested: bool = False) -> Any:
    start = file.read(len(_ZIP))
    file.seek(0)
    if start == _ZIP:
        return _read_zip(file, size, hint)
    return _read_plain(file, size, hint, nested=nested)


def _read_zip(file: io.BufferedIOBase, size: int, hint: Callable[[str], str]) -> Any:
    try:
        records = {info.filename: info for info in zipfile.ZipFile(file).infolist()}
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{CUT_OFF}: after {size} bytes the index at the end of the archive of torch.save is missing"
        ) from error
    kind = describe_archive(list(records))
    if kind:
        raise CheckpointError(f"expected a file of torch.save, got {kind}")
    root = next(name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl"))
    budget = Budget(2 * size)
    storages = _Storages(budget)

    def find_record(name: str) -> int:
        """Puts the file at the beginning of a record. Returns its length."""
        info = records[root + name]
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise CheckpointError(f"refused: the record {name} is compressed or encrypted, which torch.save never does")
        file.seek(info.header_offset)
        file.seek(sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))), os.SEEK_CUR)
        return info.file_size

    def load_storage(key: Any) -> _Storage:
        storage, new = storages.add(key)
        if new:
            length = find_record(f"data/{key[2]}")
            if length != len(storage.bytes):
                raise ValueError(f"the record data/{key[2]} has {length} bytes, expected {len(storage.bytes)}")
            storage.fill(file)
        return storage

    def read_record(name: str) -> bytes:
        length = find_record(name)
        budget.spend(length)
        return file.read(length)

    if root + "byteorder" in records and read_record("byteorder") != sys.byteorder.encode():
        raise CheckpointError(f"refused: written on a machine with another byte order than this one's, {sys.byteorder}")
    return read_pickle(io.BytesIO(read_record("data.pkl")), size, _names(budget, size), hint, load_storage)


def _read_plain(file: io.BufferedIOBase, size: int, hint: Callable[[str], str], *, nested: bool) -> Any:
    budget = Budget(2 * size)
    names = _names(budget, size)
    if not nested:  # how pickle.dump writes the numbers of a tensor: as a file of torch.save inside the file
        names["torch.storage._load_from_bytes"] = Builder(lambda content: _read_bytes(content, hint, budget))
    content = read_pickle(file, size, names, hint)
    if type(content) is not int or content != _MAGIC:
        return content  # of pickle.dump
    if read_pickle(file, size, names, hint) != _VERSION:
        raise ValueError("not a file of torch.save")
    read_pickle(file, size, names, hint)  # the properties of the machine
    storages = _Storages(budget)

    def load_storage(key: Any) -> _Storage:
        *root, view = key
        storage, _ = storages.add(root)
        return storage if view is None else storage.part(*map(_whole, view[1:]))

    content = read_pickle(file, size, names, hint, load_storage)
    for storage in storages.in_order(read_pickle(file, size, names, hint)):
        (numel,) = struct.unpack("<q", file.read(8))
        if numel * storage.dtype.itemsize != len(storage.bytes):
            raise ValueError(f"a storage of {numel} numbers, expected {len(storage.bytes)} bytes")
        storage.fill(file)
    return content


def _read_bytes(content: Any, hint: Callable[[str], str], budget: Budget) -> Any:
    """What a file of `torch.save` holds that is in memory."""
    if type(content) not in (bytearray, memoryview):
        raise CheckpointError("refused: a storage of something else than bytes")
    budget.spend(len(content))
    return _read(io.BytesIO(content), len(content), hint, nested=True)


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError("a storage whose size is not a whole number")
    return number


def _names(budget: Budget, size: int) -> dict[str, Any]:
    """The values of the names in a file of `size` bytes."""
    storages = {f"torch.{name}Storage": _StorageType(dtype) for name, dtype in _DTYPES.items()}
    storages |= {name.replace("torch.", "torch.cuda."): value for name, value in storages.items()}
    plain = Builder(_first)
    views = Budget(2 * size)  # a storage can have many views, and with strides of 0 a view can be larger than it

    def rebuild(storage: Any, offset: Any, sizes: Any, strides: Any, *_: Any) -> Tensor:
        return _make_tensor(storage, offset, sizes, strides, views)

    def rebuild_v2(
        storage: Any, offset: Any, sizes: Any, strides: Any, gradient: Any, hooks: Any, metadata: Any = None
    ) -> Tensor:
        if metadata:
            raise CheckpointError("refused: a tensor with a conjugate or a negative view")
        return _make_tensor(storage, offset, sizes, strides, views)

    def rebuild_v3(
        storage: Any, offset: Any, sizes: Any, strides: Any, gradient: Any, hooks: Any, dtype: Any, metadata: Any = None
    ) -> Tensor:
        if not isinstance(storage, _Storage) or dtype not in _UNTYPED_DTYPES:
            raise CheckpointError("refused: a tensor of bytes without a storage, or of another dtype")
        return rebuild_v2(_Storage(storage.bytes, dtype), offset, sizes, strides, gradient, hooks, metadata)

    return {
        **containers(size),
        **numpy_names(budget, size),
        **storages,
        "torch.storage.UntypedStorage": _StorageType(None),
        "torch._utils._rebuild_tensor": Builder(rebuild),
        "torch._utils._rebuild_tensor_v2": Builder(rebuild_v2),
        "torch._utils._rebuild_tensor_v3": Builder(rebuild_v3),
        "torch._utils._rebuild_parameter": plain,
        "torch._utils._rebuild_parameter_with_state": plain,
        "torch._tensor._rebuild_from_type_v2": Builder(_rebuild_with_attributes),
        # arguments of the functions above, and types of which only the argument is kept
        "torch.Tensor": None,
        "torch.nn.parameter.Parameter": None,
        **{str(dtype): None for dtype in _DTYPES.values()},
        **{str(dtype): dtype for dtype in _UNTYPED_DTYPES},
        **dict.fromkeys(("torch.device", "torch.Size", "collections.Counter"), plain),
    }


def _first(value: Any = None, *_: Any) -> Any:
    return value


def _rebuild_with_attributes(build: Any, kind: Any, arguments: Any, attributes: Any) -> Any:
    """A tensor to which Python attributes were added; they are dropped."""
    if not isinstance(build, Builder) or type(arguments) is not tuple:
        raise CheckpointError("refused: a call of a value that is not a function")
    return build.build(*arguments)


def _make_tensor(storage: Any, offset: Any, sizes: Any, strides: Any, views: Budget) -> Tensor:
    """A view of a storage, after all its numbers were checked."""
    check_sizes(sizes)
    check_sizes(strides)
    if not isinstance(storage, _Storage) or len(sizes) != len(strides):
        raise CheckpointError("refused: a tensor without a storage, or with sizes and strides that do not fit")
    numbers = storage.bytes.view(storage.dtype)
    views.spend(math.prod(max(size, 1) for size in sizes))
    if 0 in sizes:
        return numbers.new_empty(sizes)
    end = _whole(offset) + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1
    if end > len(numbers):
        raise CheckpointError(f"refused: a tensor that ends at number {end} of a storage of {len(numbers)}")
    # The stride of a side of 1 has no meaning, and may be any number.
    used = [stride if size > 1 else 1 for size, stride in zip(sizes, strides, strict=True)]
    return numbers[offset:].as_strided(sizes, used)
