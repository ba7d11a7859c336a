"""The readers of foreign weights: what they take, and files made to run code, to crash or to exhaust the memory."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from condinst import CheckpointError
from condinst.models.checkpoints.files import read_state, read_torch_file

DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def refused(path: Path, match: str = "refused") -> None:
    """The file is refused in one sentence that names it."""
    with pytest.raises(CheckpointError, match=rf"{path.name}: .*{match}") as error:
        read_state(path)
    assert len(str(error.value)) < 600


# ---- what is read


def arrays() -> dict[str, Any]:
    """Arrays of every kind that is read, and NumPy's scalars."""
    found: dict[str, Any] = {}
    for code in DTYPES:
        for order in "<>":
            values = (np.arange(24).reshape(2, 3, 4) % 5).astype(order + code)
            found |= {
                f"{order}{code} C": values,
                f"{order}{code} Fortran": np.asfortranarray(values),
                f"{order}{code} axes in another order": values.transpose(1, 0, 2),
                f"{order}{code} strided": values[:, ::2],
                f"{order}{code} without axes": np.array(3, dtype=order + code),
                f"{order}{code} empty": np.zeros((0, 3), dtype=order + code),
            }
        found[f"{code} scalar"] = np.dtype(code).type(3)
    return found


@pytest.mark.parametrize("package", [b"numpy._core", b"numpy.core"])
@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_all_kinds(tmp_path: Path, protocol: int, package: bytes) -> None:
    content = pickle.dumps(arrays(), protocol=protocol)
    if protocol < 4:  # later ones tell the length of a name
        content = content.replace(b"numpy._core", package)
    state, _ = read_state(write(tmp_path / "a.pkl", content))
    assert state.keys() == arrays().keys()
    for name, value in arrays().items():
        expected = np.asarray(value).astype(np.asarray(value).dtype.newbyteorder("="))
        assert state[name].shape == expected.shape, name
        assert torch.equal(state[name], torch.from_numpy(expected.copy())), name


def python2_string(text: bytes, protocol: int) -> bytes:
    """How Python 2 pickles a str."""
    if protocol == 0:
        return b"S" + repr(text)[1:].encode("ascii") + b"\n"
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("length", [3, 1000])
def test_arrays_of_python_2(tmp_path: Path, protocol: int, length: int) -> None:
    """Written by hand, as detectron2's MSRA R-50.pkl is: a str is text or bytes."""
    values = np.linspace(-7, 7, length, dtype=np.float32)
    string = lambda text: python2_string(text, protocol)  # noqa: E731
    dtype = b"cnumpy\ndtype\n(" + string(b"f4") + b"I0\nI1\ntR(I3\n" + string(b"<") + b"NNNI-1\nI-1\nI0\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + string(b"b") + b"tR"
    array += b"(I1\n(I%d\nt" % length + dtype + b"I00\n" + string(values.tobytes()) + b"tb"
    content = (b"\x80\x02" if protocol else b"") + b"(d" + string(b"conv1_w") + array + b"s."
    expected = pickle.loads(content, encoding="latin1")["conv1_w"]  # the file is a sound one
    state, _ = read_state(write(tmp_path / "R-50.pkl", content))
    assert np.array_equal(state["conv1_w"].numpy(), expected) and np.array_equal(expected, values)


def torch_content() -> dict[str, Any]:
    """What training checkpoints hold."""
    base = torch.randn(4, 6)
    with_attribute = torch.randn(2)
    with_attribute.note = "x"  # type: ignore[attr-defined]
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    return {
        "state": module.to(memory_format=torch.channels_last).state_dict(),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "attribute": with_attribute,
        "views": [base, base.t(), base[1:, ::2], base[:0], torch.zeros(1).expand(3, 4), torch.tensor(3.0)],
        "dtypes": [torch.arange(5).to(dtype) for dtype in (torch.bool, torch.int8, torch.int64, torch.bfloat16)],
        "epochs": Counter({3: 1}),
        "options": OrderedDict(lr=0.1, betas=(0.9, 0.999), foreach=None, name="ü", big=10**30, names={"a"}),
        "bytes": b"abc",
    }


def assert_same(value: Any, expected: Any, where: str) -> None:
    if isinstance(expected, Tensor):
        assert value.dtype == expected.dtype and torch.equal(value, expected), where
        assert value.stride() == expected.stride() or not value.numel(), where
    elif isinstance(expected, dict):
        assert list(value) == list(expected), where
        for key in expected:
            assert_same(value[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        for index, (one, other) in enumerate(zip(value, expected, strict=True)):
            assert_same(one, other, f"{where}[{index}]")
    else:
        assert (set(value) if isinstance(expected, set) else value) == expected, where


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_files_of_torch(tmp_path: Path, protocol: int, zipped: bool) -> None:
    content = torch_content()
    torch.save(content, tmp_path / "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    expected = torch.load(tmp_path / "a.pth", weights_only=False)
    assert_same(read_torch_file(tmp_path / "a.pth"), expected, "")


OTHER_DTYPES = (torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", OTHER_DTYPES)
def test_dtypes_without_a_storage_of_their_own(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    values = torch.arange(12.0).reshape(3, 4).to(dtype)
    torch.save({"a": values, "b": values[1:, ::2]}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    state, _ = read_state(tmp_path / "a.pth")
    for name, expected in (("a", values), ("b", values[1:, ::2])):
        assert state[name].dtype == dtype and torch.equal(state[name].double(), expected.double())


@pytest.mark.parametrize("protocol", range(6))
def test_containers_beside_arrays(tmp_path: Path, protocol: int) -> None:
    content = {"a": np.arange(3), "names": {"x", "y"}, "frozen": frozenset({1}), "bytes": bytearray(b"abc")}
    state, _ = read_state(write(tmp_path / "a.pkl", pickle.dumps(content, protocol=protocol)))
    assert state.keys() == {"a"} and state["a"].tolist() == [0, 1, 2]


def test_numpy_in_a_file_of_torch(tmp_path: Path) -> None:
    torch.save({"a": np.arange(3.0), "b": np.float64(7), "c": torch.ones(2)}, tmp_path / "a.pth")
    state, _ = read_state(tmp_path / "a.pth")
    assert {name: value.tolist() for name, value in state.items()} == {"a": [0, 1, 2], "b": 7, "c": [1, 1]}


# ---- pickles of arrays that are not what they seem


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"I%d\n" % value


def data(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def parts(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def dtype(code: str, state: bytes | None = None) -> bytes:
    made = b"cnumpy\ndtype\n" + parts(text(code), b"\x89", b"\x88") + b"R"
    return made if state is None else made + state + b"b"


def dtype_state(*structure: bytes, order: str = "<", flags: int = 0) -> bytes:
    fields = structure or (b"N", b"N", b"N")
    return parts(number(3), text(order), *fields, number(-1), number(-1), number(flags))


PLAIN = dtype("f4", dtype_state())
RECONSTRUCT = (
    b"cnumpy.core.multiarray\n_reconstruct\n" + parts(b"cnumpy\nndarray\n", parts(number(0)), data(b"b")) + b"R"
)
OBJECT = dtype("O8", dtype_state(order="|", flags=63))
FIELDS = parts(text("a")) + b"(" + text("a") + parts(OBJECT, number(0)) + b"d"


def array(shape: bytes, kind: bytes, content: bytes, fortran: bytes = b"\x89") -> bytes:
    return RECONSTRUCT + parts(number(1), shape, kind, fortran, content) + b"b"


def scalar(kind: bytes, content: bytes) -> bytes:
    return b"cnumpy.core.multiarray\nscalar\n" + parts(kind, content) + b"R"


FORGED = {
    "an object array": array(parts(number(1)), OBJECT, data(bytes(8))),
    "a void with an object inside": array(
        parts(number(1)), dtype("V8", dtype_state(b"N", *[FIELDS], order="|", flags=1)), data(bytes(8))
    ),
    "a scalar of more bytes than there are": scalar(dtype("V8"), array(parts(), PLAIN, data(bytes(4)))),
    "the constructor of arrays": b"cnumpy\nndarray\n" + parts(parts(number(1)), OBJECT, data(bytes(8))) + b"R",
    "a number with a field": array(parts(number(1)), dtype("f4", dtype_state(PLAIN, b"N", b"N")), data(bytes(4))),
    "a dtype of text": array(parts(number(1)), dtype("U8"), data(bytes(32))),
    "a dtype of many numbers": array(parts(number(1)), dtype("(9999999,)f4"), data(bytes(4))),
    "a dtype of dates": array(parts(number(1)), dtype("M8"), data(bytes(8))),
    "complex numbers": array(parts(number(1)), dtype("c8"), data(bytes(8))),
    "a byte order that is none": array(parts(number(1)), dtype("f4", dtype_state(order="!")), data(bytes(4))),
    "a dtype's state of too few entries": array(parts(number(1)), dtype("f4", parts(number(3))), data(bytes(4))),
    "too few bytes": array(parts(number(2)), PLAIN, data(bytes(4))),
    "too many bytes": array(parts(number(1)), PLAIN, data(bytes(8))),
    "a negative side": array(parts(number(-1), number(-1)), PLAIN, data(bytes(4))),
    "sides whose product wraps": array(parts(number(2**62), number(4), number(0)), PLAIN, data(b"")),
    "a side that is no number": array(parts(text("1")), PLAIN, data(bytes(4))),
    "sixty-five sides": array(parts(*[number(1)] * 65), PLAIN, data(bytes(4))),
    "bytes that are a list": array(parts(number(1)), PLAIN, b"]"),
    "no dtype": array(parts(number(1)), b"N", data(bytes(4))),
    "a state of too few entries": RECONSTRUCT + parts(number(1)) + b"b",
    "a state for a list": b"](NNtb",
    "a call of a list": b"](tR",
    "a call of a name that is none": b"cnumpy\nndarray\n)R",
    "another codec": b"c_codecs\nencode\n" + parts(text("a"), text("zlib")) + b"R",
    "an object": b"cbuiltins\nobject\n)\x81",
    "a persistent id": text("a") + b"Q",
    "an extension": b"\x82\x01",
    "an old class": b"(ios\nsystem\n",
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_arrays_are_refused(tmp_path: Path, name: str) -> None:
    """NumPy takes what its dtypes and arrays are given as state for true, pointers among it."""
    sound = array(parts(number(1)), PLAIN, data(struct.pack("<f", 1.5)))
    state, _ = read_state(write(tmp_path / "sound.pkl", b"\x80\x03}" + text("a") + sound + b"s."))
    assert state["a"].tolist() == [1.5]
    refused(write(tmp_path / "forged.pkl", b"\x80\x03}" + text("a") + FORGED[name] + b"s."))


def test_a_byte_of_2_is_true(tmp_path: Path) -> None:
    content = b"\x80\x03}" + text("a") + array(parts(number(3)), dtype("b1"), data(bytes([0, 1, 2]))) + b"s."
    state, _ = read_state(write(tmp_path / "a.pkl", content))
    assert state["a"].view(torch.uint8).tolist() == [0, 1, 1]


# ---- files of torch that are not what they seem


def pickled(path: Path, content: bytes, records: dict[str, bytes], **options: Any) -> Path:
    """An archive of torch.save with a pickle that torch.save would not write."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, value in {"data.pkl": content, "byteorder": b"little", **records}.items():
            archive.writestr(f"archive/{name}", value)
    return path


def storage(numel: int = 4, name: str = "0", kind: str = "FloatStorage") -> bytes:
    return parts(text("storage"), f"ctorch\n{kind}\n".encode(), text(name), text("cpu"), number(numel)) + b"Q"


def tensor(source: bytes, offset: int, sizes: list[int], strides: list[int], rest: bytes = b"\x89N") -> bytes:
    shape = parts(*map(number, sizes)), parts(*map(number, strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + parts(source, number(offset), *shape, rest) + b"R"


def tensor_v3(source: bytes, sizes: list[int], dtype: bytes) -> bytes:
    shape = parts(*map(number, sizes)), parts(*[number(1)] * len(sizes))
    return b"ctorch._utils\n_rebuild_tensor_v3\n" + parts(source, number(0), *shape, b"\x89N", dtype) + b"R"


def archive(path: Path, value: bytes, records: dict[str, bytes] | None = None) -> Path:
    numbers = struct.pack("<4f", 0, 1, 2, 3)
    return pickled(path, b"\x80\x02}" + text("a") + value + b"s.", {"data/0": numbers} | (records or {}))


FORGED_TENSORS = {
    "more numbers than the storage has": tensor(storage(), 0, [1000], [1]),
    "a begin beyond the storage": tensor(storage(), 5, [0, 1], [1, 1]).replace(b"I0\nI1\n", b"I1\nI1\n"),
    "a stride beyond the storage": tensor(storage(), 0, [2], [4]),
    "a stride near 2^63": tensor(storage(), 0, [3, 3], [2**62, 2**62]),
    "a stride beyond 64 bits": tensor(storage(), 0, [2], [2**70]),
    "a negative stride": tensor(storage(), 3, [2], [-1]),
    "a negative begin": tensor(storage(), -1, [1], [1]),
    "a negative size": tensor(storage(), 0, [-4], [1]),
    "sizes without strides": tensor(storage(), 0, [2, 2], [1]),
    "sizes whose product wraps": tensor(storage(), 0, [2**62, 4], [0, 0]),
    "a trillion copies of a number": tensor(storage(), 0, [10**12], [0]),
    "an empty tensor of endless sides": tensor(storage(), 0, [0, 2**62, 2**62], [1, 1, 1]),
    "no storage": tensor(b"N", 0, [1], [1]),
    "a storage of another size": tensor(storage(5), 0, [1], [1]),
    "a storage of endless size": tensor(storage(2**61), 0, [1], [1]),
    "a storage without its record": tensor(storage(name="1"), 0, [1], [1]),
    "a storage of two dtypes": parts(storage(), storage(kind="IntStorage")),
    "quantised numbers": tensor(storage(kind="QInt8Storage"), 0, [1], [1]),
    "complex numbers": tensor(storage(2, kind="ComplexFloatStorage"), 0, [1], [1]),
    "a conjugate": tensor(storage(), 0, [4], [1], b"\x89N}" + text("conj") + b"\x88s"),
    "an id of something else": parts(text("module"), b"N", text("0"), text("cpu"), number(4)) + b"Q",
    "a sparse tensor": b"ctorch._utils\n_rebuild_sparse_tensor\n)R",
    "bytes taken for complex numbers": tensor_v3(storage(16, kind="ByteStorage"), [2], b"ctorch\ncomplex64\n"),
    "bytes taken for bools": tensor_v3(storage(16, kind="ByteStorage"), [2], b"ctorch\nbool\n"),
    "more numbers than there are bytes for": tensor_v3(storage(16, kind="ByteStorage"), [9], b"ctorch\nuint16\n"),
    "a dtype that is none": tensor_v3(storage(16, kind="ByteStorage"), [2], b"]"),
    "a tensor without numbers": b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n)R",
    "a constructor": b"ctorch\nFloatTensor\n" + parts(number(10**10)) + b"\x81",
}


@pytest.mark.parametrize("name", FORGED_TENSORS)
def test_forged_tensors_are_refused(tmp_path: Path, name: str) -> None:
    """PyTorch itself enlarges a storage to what a view in the file asks for, and leaves unset what it adds."""
    state, _ = read_state(archive(tmp_path / "sound.pth", tensor(storage(), 1, [3], [1])))
    assert state["a"].tolist() == [1, 2, 3]
    refused(archive(tmp_path / "forged.pth", FORGED_TENSORS[name]))


def test_a_stride_that_means_nothing_may_be_any_number(tmp_path: Path) -> None:
    state, _ = read_state(archive(tmp_path / "a.pth", tensor(storage(), 0, [1, 4], [2**62, 1])))
    assert state["a"].tolist() == [[0, 1, 2, 3]] and state["a"].contiguous().sum() == 6


def test_sparse_and_complex_tensors_of_torch_are_refused(tmp_path: Path) -> None:
    for value in (torch.eye(3).to_sparse(), torch.ones(2, dtype=torch.complex64), torch.zeros(2, device="meta")):
        torch.save({"a": value}, tmp_path / "a.pth")
        refused(tmp_path / "a.pth")


def test_old_files_with_storages_that_do_not_fit(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(4.0)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes()
    assert read_state(tmp_path / "a.pth")[0]["a"].tolist() == [0, 1, 2, 3]
    for count in (3, 5, 2**40, -1):
        end = struct.pack("<q", count) + content[-16:]
        refused(write(tmp_path / "b.pth", content[:-24] + end))
    refused(write(tmp_path / "b.pth", content[:-1]))


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    value = b"\x80\x02}" + text("a") + tensor(storage(10**7), 0, [10**7], [1]) + b"s."
    numbers = {"data/0": bytes(4 * 10**7)}
    path = pickled(tmp_path / "a.pth", value, numbers, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    refused(path, "compressed")
    assert read_state(pickled(tmp_path / "b.pth", value, numbers))[0]["a"].shape == (10**7,)


# ---- files of few bytes that ask for much memory or time


def long_number(multiple: int) -> bytes:
    """A number with the hash of 0."""
    return b"\x8a\x0a" + (multiple * (2**61 - 1)).to_bytes(10, "little")


BOMBS = {
    "memo.pkl": b"}r\xff\xff\xff\x7f.",
    # numbers with the same hash, as keys, as elements and in tuples, and as indices of the memo
    "hashes.pkl": b"}(" + b"".join(long_number(k) + b"N" for k in range(1, 30_000)) + b"u.",
    "set.pkl": b"\x8f(" + b"".join(map(long_number, range(1, 30_000))) + b"\x90.",
    "floats.pkl": b"}(" + b"".join(b"G" + struct.pack(">d", 2.0 ** (61 + k % 900)) + b"N" for k in range(9999)) + b"u.",
    "tuples.pkl": b"}(" + b"".join(long_number(k) + b"\x85N" for k in range(1, 30_000)) + b"u.",
    "memo_hashes.pkl": b"}" + b"".join(b"p%d\n" % (k * (2**61 - 1)) for k in range(1, 30_000)) + b".",
    "memo_negative.pkl": b"}p-1\n.",
    "memo_line.pkl": b"}p999999999999\n.",
    "text8.pkl": b"\x8d" + struct.pack("<Q", 2**40) + b"a.",
    "bytes8.pkl": b"\x8e" + struct.pack("<Q", 2**40) + b"a.",
    "bytearray8.pkl": b"\x96" + struct.pack("<Q", 2**36) + b"a.",
    "string4.pkl": b"T" + struct.pack("<i", 2**31 - 1) + b"a.",
    "frame.pkl": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.",
    "number4.pkl": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"a.",
    "digits.pkl": b"L" + b"9" * 10**6 + b"\n.",
    "nested.pkl": b"]" * 10**6 + b"a" * (10**6 - 1) + b".",
    "sets.pkl": b"\x8f" * 10**7 + b".",
    # each level holds the one below twice: 2^100 to hash, to compare or to write
    "keys.pkl": b"}" + text("a") + b")" + b"2\x86" * 100 + b"N0s" + b")" + b"2\x86" * 100 + b"Ns.",
    # one text of a megabyte, encoded a hundred thousand times
    "encode.pkl": b"c_codecs\nencode\nq\x00" + text("a" * 10**6) + b"\x85q\x01" + b"0h\x00h\x01R" * 10**5 + b".",
    # one list of pairs, copied a hundred thousand times
    "pairs.pkl": b"ccollections\nOrderedDict\nq\x00((" + b"K\x00K\x01\x86" * 10**5 + b"l\x85q\x010"
    + b"h\x00h\x01R" * 10**5 + b".",
    "arrays.pkl": PLAIN + b"q\x000" + data(bytes(4 * 10**6)) + b"q\x010"
    + (RECONSTRUCT + parts(number(1), parts(number(10**6)), b"h\x00", b"\x89", b"h\x01") + b"b0") * 10**4 + b"N.",
    "empty.pth": b"\x80\x02}.",
}  # fmt: skip


def test_dicts_of_lists_are_copied_within_a_limit(tmp_path: Path) -> None:
    """Each entry of a dict takes more memory than the file has bytes for it."""
    pairs = b"((" + b"".join(number(k) + b"N\x86" for k in range(10_000)) + b"l\x85q\x01"
    make = b"ccollections\nOrderedDict\nh\x01R"
    array_a = text("a") + array(parts(number(1)), PLAIN, data(bytes(4)))
    once = b"}" + array_a + b"s" + pairs + b"0" + text("b") + make + b"s."
    state, _ = read_state(write(tmp_path / "once.pkl", once))
    assert state["a"].tolist() == [0]
    refused(write(tmp_path / "often.pkl", pairs + b"0(" + make * 12 + b"t."), "asks for more memory")


def bombs(folder: Path) -> None:
    """Reads all files of a folder and tells what happens, and how much memory the process takes for it."""
    before = peak_memory()
    for path in sorted(folder.iterdir()):
        try:
            read_state(path)
        except CheckpointError:
            continue
        raise AssertionError(f"{path} was read")
    print(peak_memory() - before)


def peak_memory() -> int:
    """MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def test_small_files_take_little_memory_and_time(tmp_path: Path) -> None:
    for name, content in BOMBS.items():
        write(tmp_path / name, content)
    value = b"cbuiltins\nbytearray\n" + parts(number(10**10)) + b"R"
    archive(tmp_path / "bytearray.pth", value)
    archive(tmp_path / "view.pth", FORGED_TENSORS["more numbers than the storage has"].replace(b"1000", b"%d" % 10**10))
    records = {f"data/{index}": b"" for index in range(9)}
    archive(tmp_path / "records.pth", parts(*(storage(10**9, str(index)) for index in range(9))), records)
    code = "import sys, pathlib; from tests.models.test_checkpoint_files import bombs; bombs(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # the largest of the files has 10 MB, of operations that make sets of 216 bytes each
    assert int(done.stdout) < 400


@pytest.mark.parametrize("form", [b"L%sL\n.", b"L%s\n.", b"I%s\n.", b"}p%s\n.", b"}g%s\n."])
def test_whole_numbers_in_text_have_a_longest(tmp_path: Path, form: bytes) -> None:
    refused(write(tmp_path / "a.pkl", form % (b"1" * 256)), "a whole number of 25[67] characters")
    fits = b"}" + text("a") + b"L" + b"1" * 254 + b"L\ns."
    refused(write(tmp_path / "fits.pkl", fits), "expected a dict of tensors, found none among a")


# ---- damage


@pytest.mark.parametrize("name", ["a.pkl", "zip.pth", "old.pth", "a.safetensors"])
def test_files_that_are_cut_off_are_refused(tmp_path: Path, name: str) -> None:
    """At two hundred places: a CheckpointError with the name of the file. tests/fuzz changes bytes."""
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.bool)}
    buffer = io.BytesIO()
    if name == "a.pkl":
        buffer.write(pickle.dumps({key: value.numpy() for key, value in state.items()}))
    elif name == "a.safetensors":
        from safetensors.torch import save

        buffer.write(save(state, {"condinst_config": "{}"}))
    else:
        torch.save(state, buffer, _use_new_zipfile_serialization=name == "zip.pth")
    content = buffer.getvalue()
    assert read_state(write(tmp_path / name, content))[0].keys() == state.keys()
    for end in range(0, len(content), 1 + len(content) // 200):
        with pytest.raises(CheckpointError) as error:
            read_state(write(tmp_path / name, content[:end]))
        assert str(error.value).startswith(f"{tmp_path / name}: ") and len(str(error.value)) < 600


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    for name in ("a.pkl", "a.pth"):
        path = write(tmp_path / name, b"")
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
        refused(path, "cannot be read")
