"""The dependency rules of docs/architecture.md: no file mentions a package that its own package must not know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

IMPORTS = r"^\s*(?:from|import)\s+"


def _imports(*packages: str) -> str:
    """A pattern for the imports of packages of condinst, absolute and relative."""
    names = "|".join(packages)
    return IMPORTS + rf"(?:condinst\.(?:{names})\b|\.\.+(?:{names})\b|(?:condinst|\.\.+) import .*\b(?:{names})\b)"


FORBIDDEN = {
    "C++ and CUDA kernels know no torch, no csrc, no Python": (
        "kernels/**/*.[ch]*",
        r"#include\s*[<\"][^>\"]*(?:torch|ATen|c10|csrc|pybind11|Python\.h)",
    ),
    "Python kernels know no torch and no other package": (
        "kernels/**/*.py",
        IMPORTS + r"(?:torch|condinst\.(?!kernels))",
    ),
    "what launches Triton kernels does not know the operator library": (
        "condinst/ops/**/*triton.py",
        _imports("backends.native") + r"|import .*\bnative\b|torch\.ops\.condinst\.",
    ),
    "csrc knows no Python objects, the pybind11 file aside": (
        "csrc/**/*",
        r"#include\s*[<\"](?:pybind11|Python\.h|torch/(?:extension|python)\.h|ATen|c10)",
    ),
    "references know no backends": (
        "condinst/ops/*/reference.py",
        _imports("backends") + r"|torch\.ops\.condinst",
    ),
    "backends know no operators": ("condinst/backends/**/*.py", _imports("ops")),
    "models know condinst.ops, not backends": (
        "condinst/models/**/*.py",
        _imports("backends") + r"|torch\.ops\.condinst",
    ),
    "nothing knows the command line": ("condinst/**/*.py", _imports("cli")),
    "operators know nothing that is built on them": (
        "condinst/ops/**/*.py",
        _imports("models", "data", "engine", "evaluation", "visualization", "benchmarking"),
    ),
    "the package knows no program of benchmarks/": ("condinst/**/*.py", IMPORTS + r"(?:studies|benchmarks)\b"),
    "only the command line knows the benchmarks": ("condinst/[!b]*/**/*.py", _imports("benchmarking")),
}
EXCEPTIONS = {ROOT / "csrc/host.cpp", *(ROOT / "condinst/cli").glob("*.py")}


def _forbidden_lines(glob: str, pattern: str, root: Path = ROOT) -> list[str]:
    files = sorted(path for path in root.glob(glob) if path.is_file() and path not in EXCEPTIONS)
    assert files, f"no file matches {glob}"
    return [
        f"{path.relative_to(root)}: {match.group().strip()}"
        for path in files
        for match in re.finditer(pattern, path.read_text(), re.MULTILINE)
    ]


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_no_file_breaks_the_rule(rule: str) -> None:
    assert not _forbidden_lines(*FORBIDDEN[rule])


@pytest.mark.parametrize(
    ("rule", "file", "line"),
    [
        ("C++ and CUDA kernels know no torch, no csrc, no Python", "kernels/a/a.h", "#include <torch/all.h>"),
        ("C++ and CUDA kernels know no torch, no csrc, no Python", "kernels/a/a.cu", '#include "../csrc/a.h"'),
        ("Python kernels know no torch and no other package", "kernels/a/a.py", "import torch"),
        (
            "what launches Triton kernels does not know the operator library",
            "condinst/ops/a/triton.py",
            "from condinst.backends import native",
        ),
        ("csrc knows no Python objects, the pybind11 file aside", "csrc/a.cpp", "#include <Python.h>"),
        ("references know no backends", "condinst/ops/a/reference.py", "from condinst.backends import select"),
        ("backends know no operators", "condinst/backends/a.py", "from condinst.ops.nms import nms"),
        (
            "models know condinst.ops, not backends",
            "condinst/models/heads/a.py",
            "    from ...backends import native",
        ),
        ("nothing knows the command line", "condinst/engine/a.py", "from condinst import cli"),
        ("the package knows no program of benchmarks/", "condinst/a.py", "from studies.rows import read_rows"),
        ("only the command line knows the benchmarks", "condinst/models/a.py", "from ..benchmarking import plot"),
        (
            "operators know nothing that is built on them",
            "condinst/ops/a/reference.py",
            "from ...models import CondInst",
        ),
    ],
)
def test_the_rules_see_a_forbidden_line(rule: str, file: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    assert _forbidden_lines(*FORBIDDEN[rule], root=tmp_path)
