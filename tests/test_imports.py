"""What is imported when: the package and the command line's help do without PyTorch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import condinst

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "torch._dynamo", "torchvision", "numpy", "PIL", "pycocotools", "lightning_fabric"}


def _heavy_modules(*words: str) -> set[str]:
    """The modules among `HEAVY` that a process imports, by Python's own report; words are those of Python."""
    command = [sys.executable, "-X", "importtime", *words]
    report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stderr
    imported = {line.rpartition("|")[2].strip() for line in report.splitlines() if line.startswith("import time:")}
    assert "condinst" in imported, report
    return imported & HEAVY


@pytest.mark.parametrize(
    "words", ["--help", "--version", "predict --help", "train --help", "predict", "train", "no-such-command"]
)
def test_help_and_errors_of_usage_need_no_pytorch(words: str) -> None:
    assert not _heavy_modules("-m", "condinst.cli", *words.split())
    command = str(Path(sys.executable).with_name("condinst"))
    if Path(command).exists():
        assert not _heavy_modules(command, *words.split())


def test_the_package_registers_the_operators() -> None:
    code = "import condinst, torch; torch.ops.condinst.nms; torch.ops.condinst_triton.dice_loss"
    assert _heavy_modules("-c", code) >= {"torch"}
    assert "torchvision" not in _heavy_modules("-c", code)


def test_a_model_needs_neither_torchvision_nor_dynamo() -> None:
    code = "import condinst; condinst.load('condinst_nano').with_config(nms_threshold=0.5)"
    assert not _heavy_modules("-c", code) & {"torchvision", "torch._dynamo"}


def test_the_command_line_finds_every_name() -> None:
    code = "import sys; sys.argv[0] = 'condinst'; import condinst; condinst.ops.nms; condinst.load"
    assert _heavy_modules("-c", code) >= {"torch"}


def test_every_public_name_loads() -> None:
    for name in condinst.__all__:
        assert getattr(condinst, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = condinst.no_such_name  # type: ignore[attr-defined]


def test_type_checkers_see_what_loads() -> None:
    """``import x as x`` is a public name of a stub."""
    stub = ast.parse((ROOT / "condinst/__init__.pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert all(alias.asname == alias.name for node in imports for alias in node.names)
    modules = {alias.name: f"condinst.{node.module}" for node in imports if node.module for alias in node.names}
    assert modules == condinst._MODULES  # type: ignore[attr-defined]
    packages = [alias.name for node in imports if node.module is None for alias in node.names]
    assert packages == list(condinst._PACKAGES)  # type: ignore[attr-defined]
