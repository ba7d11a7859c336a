"""An operator has one name everywhere: `condinst.ops.OPERATORS` against folders, sources, tests and benchmarks."""

from __future__ import annotations

import re
from importlib import import_module
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


def _foreign_folders(source: Path, root: Path = ROOT) -> list[str]:
    """The folders of other operators in kernels/ that a file of kernels/ or csrc/ includes or imports from."""
    folder = source.relative_to(root).parts[1] if source.is_relative_to(root / "kernels") else source.stem
    text = source.read_text()
    if source.suffix == ".py":
        used = re.findall(r"^\s*(?:from \.\.|(?:from|import) condinst\.kernels\.)(\w+)", text, re.MULTILINE)
    else:
        paths = [(source.parent / name).resolve() for name in re.findall(r'#include\s*"([^"]+)"', text)]
        used = [path.parent.name for path in paths if path.is_relative_to(root.resolve() / "kernels")]
    return [name for name in used if name in OPERATORS and name != folder]


def test_no_kernel_is_in_the_folder_of_another_operator() -> None:
    """What several operators share has a folder of its own in kernels/, which knows no operator."""
    sources = [path for path in (ROOT / "kernels").glob("*/*") if path.suffix in (".h", ".cpp", ".cu", ".py")]
    # host.cpp belongs to no operator: it reads the run lengths of data sets.
    sources += [path for path in (ROOT / "csrc").iterdir() if path.name != "host.cpp"]
    assert len(sources) > 150
    assert {str(path.relative_to(ROOT)): names for path in sources if (names := _foreign_folders(path))} == {}


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("kernels/nms/nms.cu", '#include "../mask_nms/mask_nms.h"', ["mask_nms"]),
        ("kernels/nms/nms.cu", '#include "../suppression/suppression.h"', []),
        ("kernels/nms/nms_cpu.cpp", '#include "nms_cpu.h"', []),
        ("kernels/common/loss.h", '#include "../giou_loss/giou_loss.h"', ["giou_loss"]),
        ("kernels/giou_loss/giou_loss_triton.py", "from ..dice_loss.dice_loss_triton import a", ["dice_loss"]),
        ("kernels/giou_loss/giou_loss_triton.py", "from condinst.kernels.nms import a", ["nms"]),
        ("kernels/giou_loss/giou_loss_triton.py", "from ..common.loss_triton import a", []),
        ("csrc/nms.cpp", '#include "../kernels/nms/nms_cpu.h"', []),
        ("csrc/nms.cpp", '#include "../kernels/mask_nms/mask_nms_cpu.h"', ["mask_nms"]),
        ("csrc/resampling.h", '#include "../kernels/masks_to_rle/encoder.h"', ["masks_to_rle"]),
    ],
)
def test_the_folder_of_another_operator_is_seen(file: str, line: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    assert _foreign_folders(path, tmp_path) == expected


def test_operators_that_refuse_calls_say_so_on_every_backend() -> None:
    """The mask head's kernels have limits, which the reference has not; auto must know them on each backend."""
    for op in ("dynamic_mask_head", "dynamic_mask_loss"):
        for part in ("autograd", "triton"):
            assert hasattr(import_module(f"condinst.ops.{op}.{part}"), "unsupported_reason")
