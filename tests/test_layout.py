"""An operator has one name everywhere: `condinst.ops.OPERATORS` against folders, sources, tests and benchmarks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from condinst import ops
from condinst.ops import OPERATORS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "condinst/ops"
SHARED = {"common"}
"""What is no operator in `condinst.ops`."""


def _with_kernels() -> list[str]:
    return [op for op in OPERATORS if (PACKAGE / op / "autograd.py").exists()]


def test_the_tuple_has_every_folder() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders - SHARED == set(OPERATORS)
    assert list(OPERATORS) == sorted(OPERATORS)


def test_the_package_exports_every_operator() -> None:
    imports = re.findall(r"^from \.(\w+) import (\w+) as \2$", (PACKAGE / "__init__.py").read_text(), re.MULTILINE)
    assert [name for module, name in imports if name == module] == list(OPERATORS)
    assert all(callable(getattr(ops, name)) for name in OPERATORS)


def test_operators_with_kernels_are_many() -> None:
    assert len(_with_kernels()) > 15


@pytest.mark.parametrize("op", OPERATORS)
def test_files_of_an_operator(op: str) -> None:
    places = [f"condinst/ops/{op}/reference.py", f"tests/ops/test_{op}.py"]
    if op in _with_kernels():
        places += [
            f"condinst/ops/{op}/spec.py",
            f"csrc/{op}.cpp",
            f"kernels/{op}/{op}_cpu.cpp",
            f"benchmarks/bench_{op}.py",
        ]
    if (PACKAGE / op / "triton.py").exists():
        places.append(f"kernels/{op}/{op}_triton.py")
    assert not [place for place in places if not (ROOT / place).exists()]


def test_no_file_without_an_operator() -> None:
    sources = {path.stem for path in (ROOT / "csrc").glob("*.cpp")} - {"host", "library"}
    assert sources == set(_with_kernels())
    triton = {path.parent.name for path in PACKAGE.glob("*/triton.py")}
    assert {path.stem.removesuffix("_triton") for path in (ROOT / "kernels").glob("*/*_triton.py")} >= triton


def test_the_wheel_has_no_study_but_that_of_the_command() -> None:
    """Whatever else measures is in benchmarks/."""
    folder = ROOT / "condinst/benchmarking"
    needed: set[str] = set()
    waiting = [ROOT / "condinst/cli/benchmark.py"]
    while waiting:
        text = waiting.pop().read_text()
        found = set(re.findall(r"from (?:condinst\.benchmarking)?\.(\w+) import", text)) - needed
        found = {name for name in found if (folder / f"{name}.py").exists()}
        needed |= found
        waiting += [folder / f"{name}.py" for name in found]
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == needed


@pytest.mark.parametrize("op", OPERATORS)
def test_an_operator_imports_from_another_only_what_defines_it(op: str) -> None:
    """The reference and the samples may be written with those of another operator; nothing else crosses folders."""
    allowed = {"reference": {"reference"}, "spec": {"reference", "spec"}}
    for path in (PACKAGE / op).glob("*.py"):
        for package, part in re.findall(r"condinst\.ops\.(\w+)(?:\.(\w+))? import", path.read_text()):
            assert package in (op, *SHARED) or part in allowed.get(path.stem, ()), f"{path.name}: {package}.{part}"
