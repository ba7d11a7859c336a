"""A reader of pickles that knows plain containers, numbers and text; the caller defines the values of other names.

No name in a file is imported, and only functions of the caller are called. Python's unpickler with a restricted
`find_class` is not enough: a few bytes make it allocate gigabytes (an index of its memo, the length of a string) or
hash nested tuples for hours.
"""

from __future__ import annotations

import codecs
import io
import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...messages import shorten_text
from .errors import CUT_OFF, CheckpointError
from .pickle_values import Builder, Ignored, Stateful, as_dict, checked_key

MOST_OPERATIONS = 1_000_000
"""The most operations of a pickle. A file of weights has about ten thousand. Each allocates at most 216 bytes."""

_LONGEST_NUMBER = 255  # bytes of a whole number, and its characters in text; the longest known one has 10 bytes


def read_pickle(
    file: io.BufferedIOBase,
    size: int,
    known: Mapping[str, Any],
    hint: Callable[[str], str],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads one pickle of any protocol up to 5.

    Bytes become a `memoryview`, and so do strings of Python 2 of at least 256 bytes; shorter strings are read as
    latin-1.

    Args:
        file: the file, at the beginning of the pickle; afterwards it is at the end of the pickle.
        size: bytes of the file, which no string in it can exceed.
        known: the values of names such as "module.name": a `Builder`, or any value. `numpy.core` has its newer name.
        hint: takes an unknown name, and returns an addition to the message.
        persistent: makes the value of a persistent id.

    Raises:
        CheckpointError: a name that is not known, or more than a file of weights can need.
        Exception: a damaged file; the type depends on the damage.
    """
    return _Reader(file, size, known, hint, persistent).read()


class _Reader:
    """The stack machine of pickle, without recursion."""

    def __init__(
        self,
        file: io.BufferedIOBase,
        size: int,
        known: Mapping[str, Any],
        hint: Callable[[str], str],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        self.file = file
        self.size = size
        self.known = known
        self.hint = hint
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self) -> Any:
        """Runs all operations to the end."""
        read_byte = self.file.read
        for _ in range(MOST_OPERATIONS):
            code = read_byte(1)
            if code == pickle.STOP:
                return self.stack.pop()
            operation = _OPERATIONS.get(code)
            if not code:
                raise CheckpointError(CUT_OFF)
            if operation is None:
                raise CheckpointError(f"refused: a pickle with the operation {code!r}")
            operation(self)
        raise CheckpointError(f"refused: a pickle of more than {MOST_OPERATIONS} operations")

    def string(self, length: int) -> bytes:
        """The next `length` bytes of the file."""
        self.check_length(length)
        data = self.file.read(length)
        if len(data) != length:
            raise CheckpointError(CUT_OFF)
        return data

    def data(self, length: int) -> memoryview:
        """The next `length` bytes of the file, in memory that can be changed."""
        self.check_length(length)
        data = np.empty(length, np.uint8).data  # unlike a bytearray, it is not filled with zeros first
        if self.file.readinto(data) != length:
            raise CheckpointError(CUT_OFF)
        return data

    def check_length(self, length: int) -> None:
        """Raises a CheckpointError when the file is shorter than a string in it, before anything is allocated."""
        if not 0 <= length <= self.size:
            raise CheckpointError(f"{CUT_OFF}: a string of {length} bytes in a file of {self.size}")

    def number(self, layout: str) -> Any:
        """The next number, in a layout of `struct`."""
        return struct.unpack(layout, self.string(struct.calcsize(layout)))[0]

    def line(self) -> bytes:
        """The rest of a line."""
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise CheckpointError(CUT_OFF)
        return line[:-1]

    def text(self) -> str:
        """The next line as text."""
        return self.line().decode("utf-8")

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def put(self, index: int) -> None:
        """Stores the value on top of the stack under an index."""
        if not 0 <= index <= MOST_OPERATIONS:
            raise CheckpointError(f"refused: a pickle with a memo index out of 0 .. {MOST_OPERATIONS}")
        self.memo[index] = self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """Removes all values above the last mark from the stack, and returns them."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def whole_number(self, length: int) -> int:
        """The next whole number, of `length` bytes."""
        if length > _LONGEST_NUMBER:
            raise CheckpointError(f"refused: a whole number of {length} bytes")
        return int.from_bytes(self.string(length), "little", signed=True)

    def find(self, module: str, name: str) -> Any:
        """The value of a name."""
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        # NumPy 2 renamed numpy.core to numpy._core, and files use either name.
        full_name = f"{module}.{name}".replace("numpy.core.", "numpy._core.")
        if full_name not in self.known:
            shown = shorten_text(f"{module}.{name}")
            raise CheckpointError(f"refused: the file asks for {shown}; only tensors are read{self.hint(full_name)}")
        return self.known[full_name]

    def set_items(self, items: list[Any]) -> None:
        """Adds alternating keys and values to the dict on top of the stack."""
        target = self.stack[-1]
        if type(target) is dict:
            target.update(as_dict(items))
        elif not isinstance(target, Ignored):
            raise ValueError("keys and values without a dict")

    def extend(self, items: list[Any]) -> None:
        """Adds values to the list or set on top of the stack."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is set:
            target.update(map(checked_key, items))
        elif not isinstance(target, Ignored):
            raise ValueError("values without a list or set")

    def call(self) -> None:
        """Calls the function on the stack with the arguments above it."""
        arguments = self.stack.pop()
        builder = self.stack.pop()
        if isinstance(builder, Ignored):
            self.push(builder)
        elif not isinstance(builder, Builder) or type(arguments) is not tuple:
            raise CheckpointError("refused: a call of what is no function")
        else:
            self.push(builder.build(*arguments))

    def make_object(self, operands: int) -> None:
        """Passes over an object of a class that is ignored; `operands` are above the class on the stack."""
        del self.stack[-operands:]
        kind = self.stack.pop()
        if not isinstance(kind, Ignored):
            raise CheckpointError("refused: a pickle with an object of a class")
        self.push(kind)

    def set_state(self) -> None:
        """Sets the state above a value on the stack as the state of that value."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Stateful):
            target.set_state(state)
        elif type(target) is not dict and not isinstance(target, Ignored):  # a dict's attributes, which nobody needs
            raise CheckpointError(f"refused: a state for a {type(target).__name__}")

    def load_persistent(self, key: Any) -> None:
        """Puts the value of a persistent id on the stack."""
        if self.persistent is None:
            raise CheckpointError("refused: a persistent id")
        self.push(self.persistent(key))


def _whole_number(line: bytes) -> int:
    """A number in digits, which may end in the L of Python 2. Python reads thousands of digits in quadratic time."""
    if len(line) > _LONGEST_NUMBER:
        raise CheckpointError(f"refused: a whole number of {len(line)} characters")
    return int(line.removesuffix(b"L"))


def _int_line(reader: _Reader) -> None:
    line = reader.line()
    reader.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _whole_number(line))


def _string_line(reader: _Reader) -> None:
    line = reader.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    reader.push(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))


def _global_line(reader: _Reader) -> None:
    module = reader.text()
    reader.push(reader.find(module, reader.text()))


def _stack_global(reader: _Reader) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a name that is not text")
    reader.push(reader.find(module, name))


def _protocol(reader: _Reader) -> None:
    protocol = reader.number("<B")
    if protocol > pickle.HIGHEST_PROTOCOL:
        raise ValueError(f"pickle protocol {protocol}: expected at most {pickle.HIGHEST_PROTOCOL}")


def _put(layout: str) -> Callable[[_Reader], None]:
    return lambda reader: reader.put(reader.number(layout))


def _get(layout: str) -> Callable[[_Reader], None]:
    return lambda reader: reader.push(reader.memo[reader.number(layout)])


def _number(layout: str) -> Callable[[_Reader], None]:
    return lambda reader: reader.push(reader.number(layout))


def _text(layout: str) -> Callable[[_Reader], None]:
    return lambda reader: reader.push(reader.string(reader.number(layout)).decode("utf-8", "surrogatepass"))


def _data(layout: str) -> Callable[[_Reader], None]:
    return lambda reader: reader.push(reader.data(reader.number(layout)))


def _constant(value: Any) -> Callable[[_Reader], None]:
    return lambda reader: reader.push(value)


def _tuple(length: int) -> Callable[[_Reader], None]:
    def operation(reader: _Reader) -> None:
        values = tuple(reader.stack[-length:])
        if len(values) != length:
            raise ValueError("a tuple of too few values")
        reader.stack[-length:] = [values]

    return operation


_OPERATIONS: dict[bytes, Callable[[_Reader], Any]] = {
    pickle.PROTO: _protocol,
    pickle.FRAME: lambda reader: reader.number("<Q"),
    pickle.MARK: lambda reader: reader.marks.append(len(reader.stack)),
    pickle.POP: lambda reader: reader.stack.pop(),
    pickle.POP_MARK: lambda reader: reader.pop_mark(),
    pickle.DUP: lambda reader: reader.push(reader.stack[-1]),
    pickle.PUT: lambda reader: reader.put(_whole_number(reader.line())),
    pickle.BINPUT: _put("<B"),
    pickle.LONG_BINPUT: _put("<I"),
    pickle.MEMOIZE: lambda reader: reader.memo.update({len(reader.memo): reader.stack[-1]}),
    pickle.GET: lambda reader: reader.push(reader.memo[_whole_number(reader.line())]),
    pickle.BINGET: _get("<B"),
    pickle.LONG_BINGET: _get("<I"),
    # numbers and constants
    pickle.NONE: _constant(None),
    pickle.NEWTRUE: _constant(True),
    pickle.NEWFALSE: _constant(False),
    pickle.INT: _int_line,
    pickle.BININT: _number("<i"),
    pickle.BININT1: _number("<B"),
    pickle.BININT2: _number("<H"),
    pickle.LONG: lambda reader: reader.push(_whole_number(reader.line())),
    pickle.LONG1: lambda reader: reader.push(reader.whole_number(reader.number("<B"))),
    pickle.LONG4: lambda reader: reader.push(reader.whole_number(reader.number("<i"))),
    pickle.FLOAT: lambda reader: reader.push(float(reader.line())),
    pickle.BINFLOAT: _number(">d"),
    # text and bytes
    pickle.STRING: _string_line,
    pickle.SHORT_BINSTRING: lambda reader: reader.push(reader.string(reader.number("<B")).decode("latin-1")),
    pickle.BINSTRING: _data("<i"),  # from Python 2, and too long for a name: the numbers of an array
    pickle.UNICODE: lambda reader: reader.push(reader.line().decode("raw-unicode-escape")),
    pickle.BINUNICODE: _text("<I"),
    pickle.SHORT_BINUNICODE: _text("<B"),
    pickle.BINUNICODE8: _text("<Q"),
    pickle.BINBYTES: _data("<I"),
    pickle.SHORT_BINBYTES: _data("<B"),
    pickle.BINBYTES8: _data("<Q"),
    pickle.BYTEARRAY8: _data("<Q"),
    # containers
    pickle.EMPTY_TUPLE: _constant(()),
    pickle.EMPTY_LIST: lambda reader: reader.push([]),
    pickle.EMPTY_DICT: lambda reader: reader.push({}),
    pickle.EMPTY_SET: lambda reader: reader.push(set()),
    pickle.TUPLE: lambda reader: reader.push(tuple(reader.pop_mark())),
    pickle.TUPLE1: _tuple(1),
    pickle.TUPLE2: _tuple(2),
    pickle.TUPLE3: _tuple(3),
    pickle.LIST: lambda reader: reader.push(reader.pop_mark()),
    pickle.DICT: lambda reader: reader.push(as_dict(reader.pop_mark())),
    pickle.FROZENSET: lambda reader: reader.push(frozenset(map(checked_key, reader.pop_mark()))),
    pickle.APPEND: lambda reader: reader.extend([reader.stack.pop()]),
    pickle.APPENDS: lambda reader: reader.extend(reader.pop_mark()),
    pickle.ADDITEMS: lambda reader: reader.extend(reader.pop_mark()),
    pickle.SETITEM: lambda reader: reader.set_items([reader.stack.pop(-2), reader.stack.pop()]),
    pickle.SETITEMS: lambda reader: reader.set_items(reader.pop_mark()),
    # names and values that the caller knows
    pickle.GLOBAL: _global_line,
    pickle.STACK_GLOBAL: _stack_global,
    pickle.REDUCE: lambda reader: reader.call(),
    pickle.NEWOBJ: lambda reader: reader.make_object(1),
    pickle.NEWOBJ_EX: lambda reader: reader.make_object(2),
    pickle.BUILD: lambda reader: reader.set_state(),
    pickle.PERSID: lambda reader: reader.load_persistent(reader.text()),
    pickle.BINPERSID: lambda reader: reader.load_persistent(reader.stack.pop()),
}
"""What each operation of pickle does. No operation makes an object of a class; INST and OBJ are not among them."""
