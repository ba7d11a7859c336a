"""The corridors of docs/design.md are one-way: no file mentions what its room must not know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

IMPORTS = r"^\s*(?:from|import)\s+"
FORBIDDEN = {
    "C++ and CUDA kernels know no torch, no csrc, no Python": (
        "kernels/**/*.[ch]*",
        r"#include\s*[<\"][^>\"]*(?:torch|ATen|c10|csrc|pybind11|Python\.h)",
    ),
    "Python kernels know no torch and no other room": (
        "kernels/**/*.py",
        IMPORTS + r"(?:torch|condinst\.(?!kernels))",
    ),
    "Triton adapters know no csrc": (
        "condinst/backends/triton/*.py",
        IMPORTS + r"(?:condinst\.backends\.native|\.\.native|condinst\.backends import .*\bnative\b)"
        r"|torch\.ops\.condinst\.",
    ),
    "csrc knows no Python objects, the pybind11 file aside": (
        "csrc/**/*",
        r"#include\s*[<\"](?:pybind11|Python\.h|torch/(?:extension|python)\.h|ATen|c10)",
    ),
    "the reference knows no backends": (
        "condinst/reference/**/*.py",
        IMPORTS + r"(?:condinst\.(?:backends|ops)|\.\.(?:backends|ops)|condinst import .*\b(?:backends|ops)\b)"
        r"|torch\.ops\.condinst",
    ),
    "models know condinst.ops, not backends": (
        "condinst/models/**/*.py",
        IMPORTS + r"(?:condinst\.backends|\.\.+backends|condinst import .*\bbackends\b|\.\.+ import .*\bbackends\b)"
        r"|torch\.ops\.condinst",
    ),
    "nothing knows the command line": (
        "condinst/**/*.py",
        IMPORTS + r"(?:condinst\.cli|\.+cli\b|(?:condinst|\.+) import .*\bcli\b)",
    ),
    "operators know nothing that is built on them": (
        "condinst/ops/**/*.py",
        IMPORTS + r"(?:condinst|\.)\.(?:models|data|engine|evaluation|visualization|benchmarking)",
    ),
    "only the command line knows the benchmarks": (
        "condinst/[!b]*/**/*.py",
        IMPORTS + r"(?:condinst\.benchmarking|\.+benchmarking|(?:condinst|\.+) import .*\bbenchmarking\b)",
    ),
}
EXCEPTIONS = {ROOT / "csrc/host.cpp", *(ROOT / "condinst/cli").glob("*.py")}


def _arrows(glob: str, pattern: str, root: Path = ROOT) -> list[str]:
    files = sorted(path for path in root.glob(glob) if path.is_file() and path not in EXCEPTIONS)
    assert files, f"no file matches {glob}"
    found = re.compile(pattern, re.MULTILINE)
    return [
        f"{path.relative_to(root)}: {match.group().strip()}"
        for path in files
        for match in found.finditer(path.read_text())
    ]


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_no_forbidden_arrow(rule: str) -> None:
    assert not _arrows(*FORBIDDEN[rule])


@pytest.mark.parametrize(
    ("rule", "file", "line"),
    [
        ("C++ and CUDA kernels know no torch, no csrc, no Python", "kernels/a/a.h", "#include <torch/all.h>"),
        (
            "C++ and CUDA kernels know no torch, no csrc, no Python",
            "kernels/a/a.cu",
            '#include "../csrc/a.h"',
        ),
        ("Python kernels know no torch and no other room", "kernels/a/a.py", "import torch"),
        ("Triton adapters know no csrc", "condinst/backends/triton/a.py", "from ..native import library"),
        ("csrc knows no Python objects, the pybind11 file aside", "csrc/a.cpp", "#include <Python.h>"),
        (
            "the reference knows no backends",
            "condinst/reference/a.py",
            "from condinst.backends import select",
        ),
        (
            "models know condinst.ops, not backends",
            "condinst/models/heads/a.py",
            "    from ...backends import native",
        ),
        ("nothing knows the command line", "condinst/engine/a.py", "from condinst import cli"),
        ("only the command line knows the benchmarks", "condinst/models/a.py", "from ..benchmarking import plot"),
        (
            "operators know nothing that is built on them",
            "condinst/ops/a.py",
            "from ..models import CondInst",
        ),
    ],
)
def test_the_rules_see_an_arrow(rule: str, file: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    assert _arrows(*FORBIDDEN[rule], root=tmp_path)


def test_an_operator_has_its_name_in_every_room() -> None:
    """What has a native adapter has a schema, kernels, a specification, tests and a benchmark of that name."""
    adapters = {path.stem for path in (ROOT / "condinst/backends/native").glob("*.py")} - {
        "__init__",
        "library",
    }
    assert adapters
    rooms = (
        "condinst/ops/{}.py",
        "condinst/reference/{}.py",
        "condinst/testing/{}.py",
        "csrc/{}.cpp",
        "kernels/{}",
        "tests/ops/test_{}.py",
    )
    places = [room.format(op) for op in sorted(adapters) for room in rooms]
    places += [f"benchmarks/bench_{op.removeprefix('dynamic_')}.py" for op in sorted(adapters)]
    assert not [place for place in places if not (ROOT / place).exists()]
