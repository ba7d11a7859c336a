"""What the reader of pickles makes of the values in a file: containers, and stand-ins for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import CheckpointError

_HASH_MODULUS = 2**61 - 1
_PAIR_BYTES = 100  # of memory that an entry of a dict takes
_COPIED_BYTES = 2**20  # of such entries, beside twice the size of the file: small files can be all names
_ATOMS = (str, int, float, bool, type(None))

IGNORED_CLASSES = (
    "argparse.Namespace",
    "builtins.getattr",  # how older protocols name a method of a class, which must be among these
    "builtins.complex",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "datetime.timezone",
    "easydict.EasyDict",
    "detectron2.config.config.CfgNode",
    "fvcore.common.config.CfgNode",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "mmengine.config.config.Config",
    "mmengine.config.config.ConfigDict",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.logging.history_buffer.HistoryBuffer.current",
    "mmengine.logging.history_buffer.HistoryBuffer.max",
    "mmengine.logging.history_buffer.HistoryBuffer.mean",
    "mmengine.logging.history_buffer.HistoryBuffer.min",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "types.SimpleNamespace",
    "yacs.config.CfgNode",
)
"""Objects that training checkpoints hold beside the weights: options, dates, and the course of the losses. They are
passed over. None of these names is looked up, and none of their objects is made."""


class Builder:
    """A name that a pickle may call.

    Args:
        build: makes the value of the arguments in the file, which can be anything that the reader makes.
    """

    def __init__(self, build: Callable[..., Any]) -> None:
        self.build = build


class Stateful:
    """What a pickle may give a state after it was built."""

    def set_state(self, state: Any) -> None:
        """Takes the state in the file, which can be anything that the reader makes."""
        raise NotImplementedError


class Budget:
    """What the bytes of a file may grow to in memory.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit

    def spend(self, nbytes: int) -> None:
        """Counts bytes that are about to be allocated.

        Raises:
            CheckpointError: more than the limit altogether.
        """
        self._left -= nbytes
        if nbytes < 0 or self._left < 0:
            raise CheckpointError("refused: the file asks for more memory than its own size explains")


class Ignored:
    """Stands in for a value that is no weight, such as the options of a training. Nothing is kept of it.

    Args:
        kind: what it is, for the message where it is a weight all the same.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind


class TextArray(Ignored):
    """Stands in for an array of text.

    Args:
        texts: its elements.
    """

    def __init__(self, texts: list[str]) -> None:
        super().__init__("an array of text")
        self.texts = texts


def checked_key(key: Any) -> Any:
    """A key of a dict or an element of a set, of which a file cannot make many with the same hash.

    Equal hashes make a dict compare keys one by one. Python takes the hash of a number modulo 2^61 - 1, and that of a
    tuple can be chosen by its entries.
    """
    if isinstance(key, np.ndarray) and key.ndim == 0:  # a scalar of NumPy
        key = key.item()
    if type(key) not in _ATOMS:
        raise CheckpointError(f"refused: a {type(key).__name__} as a key")
    if type(key) in (int, float) and not abs(key) < _HASH_MODULUS:
        raise CheckpointError(f"refused: a number as a key, expected one below {_HASH_MODULUS}")
    return key


def as_dict(items: list[Any]) -> dict[Any, Any]:
    """A dict of keys and values in turns."""
    if len(items) % 2:
        raise ValueError("keys and values without a dict")
    return {checked_key(items[position]): items[position + 1] for position in range(0, len(items), 2)}


def containers(size: int) -> dict[str, Any]:
    """What the names of containers stand for that Python itself writes as calls.

    Args:
        size: bytes of the file. What is copied is bounded, since a file can copy one list again and again.
    """
    budget = Budget(2 * size + _COPIED_BYTES)

    def ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
        budget.spend(_PAIR_BYTES * len(pairs))
        return {checked_key(key): value for key, value in pairs}

    def first(value: Any = (), *_: Any) -> Any:  # kept as what it is made of
        return value

    def default_dict(factory: Any = None, pairs: Any = ()) -> dict[Any, Any]:
        return ordered_dict(pairs)

    def deque(values: Any = (), *_: Any) -> list[Any]:
        budget.spend(_PAIR_BYTES * len(values))
        return list(values)

    copies = ("builtins.set", "builtins.frozenset", "builtins.bytearray")
    factories = ("builtins.dict", "builtins.float", "builtins.int", "builtins.list", "builtins.str")
    return {
        "collections.OrderedDict": Builder(ordered_dict),
        "collections.defaultdict": Builder(default_dict),
        "collections.deque": Builder(deque),
        **dict.fromkeys(copies, Builder(first)),
        **dict.fromkeys(factories),  # of a defaultdict
        **{name: Ignored(f"an object of {name}") for name in IGNORED_CLASSES},
    }
