"""What a file is that holds no weights, or weights in a format that is not read: one phrase for a message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .errors import shorten_all

_HEAD = 4096  # bytes at the beginning of a file that show what it is

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "the pointer of Git LFS to a file, not the file; `git lfs pull` gets it",
    ),
    (b"/annex/objects/", "the pointer of git-annex to a file, not the file; `git annex get` gets it"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file, as Keras writes"),
    (b"GGUF", "a GGUF file, as llama.cpp reads"),
    (b"\x93NUMPY", "one array of NumPy (.npy)"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "an ELF binary, such as a compiled library"),
)
_BY_SUFFIX = {
    ".onnx": "an ONNX model; the PyTorch checkpoint that it was exported from can be read",
    ".engine": "a TensorRT engine, which holds compiled code",
    ".trt": "a TensorRT engine, which holds compiled code",
    ".tflite": "a TensorFlow Lite model",
    ".mlmodel": "a Core ML model",
    ".pb": "a TensorFlow graph",
}
_HTML = re.compile(rb"\s*<(!doctype|html|head|body|script|!--)", re.IGNORECASE)
_XML = re.compile(rb"\s*<(\?xml|[A-Za-z][\w:.-]*[\s>/])")
_JSON = re.compile(rb"\s*[\[{]\s*[\]}\[{\"\d-]")
# the version, then the producer, a domain, a version, a description or the graph
_ONNX = re.compile(rb"\x08[\x01-\x20](\x12|\x1a|\x22|\x28|\x32|\x3a|\x42)")
_TEXT_PICKLE = re.compile(rb"[(}\]]|c[\w.]+\n[\w.]+\n|[FILSV][^\n]*\n[p.]")
_LARGEST_HEADER = 100_000_000  # bytes of that of a safetensors file


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a safetensors file."""
    return len(head) > 8 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _LARGEST_HEADER


def read_head(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(_HEAD)


def describe_file(path: Path, head: bytes) -> str:
    """What a file is that is certainly none of weights; an empty text where it may be one.

    Args:
        path: the file, of which only the ending of the name counts.
        head: its first bytes.
    """
    if not head:
        return "an empty file"
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first, and if it is one of torch.save before version 0.1.10, save it again"
    if _HTML.match(head):
        return "an HTML page, such as the page of a download or of an error; download the file itself"
    if _XML.match(head):
        return "an XML document, such as the answer of a server that refuses a download"
    if path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()]
    if head.startswith(b"\x08") and (_ONNX.match(head) or b"onnx" in head):
        return _BY_SUFFIX[".onnx"]
    if head[4:8] == b"TFL3":
        return _BY_SUFFIX[".tflite"]
    if _JSON.match(head) and _is_text(head):
        return "a JSON file"
    if not head.strip(b"\0"):
        return "a file of zeros, such as a download that did not finish"
    return _describe_text(head)


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is cut off
            return False
        text = head[: error.start].decode("utf-8-sig")
    return text.isprintable() or all(character.isprintable() or character in "\t\r\n" for character in text)


def _describe_text(head: bytes) -> str:
    """What a file of text is; pickles of protocol 0 are text, too, and not named here."""
    if not _is_text(head) or _TEXT_PICKLE.match(head):
        return ""
    first = head.decode("utf-8", "replace").lstrip("\ufeff").strip().splitlines()
    return f"a text file that begins with {first[0][:60]!r}" if first else "a file of blanks"


def describe_archive(names: Sequence[str]) -> str:
    """What a zip archive is if it is none of `torch.save`; otherwise an empty text.

    Args:
        names: of its records.
    """
    if any(re.match(r"[^/]+/(code/|constants\.pkl)", name) for name in names):
        return (
            "a TorchScript archive, which holds code; expected a state dict: save"
            " torch.jit.load(FILE).state_dict() with torch.save"
        )
    if any(
        re.match(r"([^/]+/)?(archive_format|models/[^/]+\.json|serialized_exported_program\.json)", name)
        for name in names
    ):
        return "a program of torch.export (.pt2), which holds code; expected a state dict"
    roots = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) == 1:
        return ""
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays (.npz); expected a file of torch.save, safetensors or a pickle of arrays"
    return f"a zip archive without data.pkl, so not one of torch.save; it holds {shorten_all(names) or 'nothing'}"
