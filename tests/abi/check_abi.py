"""Tests the one operator library in several versions of torch.

Not part of the test run: every torch is a download of gigabytes, and the tests take minutes in each. ``make abi`` takes
all of `VERSIONS`, ``make abi TORCH=2.11.0`` the versions that are named; a wheel may be named, too::

    python tests/abi/check_abi.py 2.11.0 path/to/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl

Each version gets a fresh virtual environment in a temporary folder, which is deleted again. It holds that torch, the
torchvision and the Triton that belong to it, the other requirements of the package as `make install` pins them, and the
editable install of this tree. Nothing is compiled: the environment loads the library that was built before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("2.11.0", "2.12.0", "2.13.0", "2.14.1", "2.15.0")

TESTS = (
    # Each operator by its OpSpec: results and gradients against the reference, gradcheck, the same bits from run to
    # run, one graph of torch.compile, autocast, opcheck, messages.
    "tests/ops/test_op_specs.py",
    # The operators that are not among these: results that are no tensors, and no kernels.
    "tests/ops/test_masks_to_rle.py",
    "tests/ops/test_aligned_bilinear.py",
    # One graph of torch.compile for all sizes, and with it the choice of a backend.
    "tests/ops/test_compiled_sizes.py",
    "tests/ops/test_registry.py",
    # The launcher of that torch's Triton binds the arguments of every kernel.
    "tests/ops/test_triton_launcher.py",
)
MARKED = ("-m", "inductor", "tests/ops")
"""The tests of Inductor, the compiler that torch.compile uses unless another one is named."""

CHOSEN_BY_TORCH = ("torch", "torchvision", "triton", "setuptools")
"""Packages that each torch takes in versions of its own, so that those in constraints.txt do not hold."""


def create_environment(torch: str, folder: Path) -> str:
    """An environment with one torch, given as a version or as the path of a wheel; returns its Python."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin/python")
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(line for line in pinned if line.partition("==")[0] not in CHOSEN_BY_TORCH))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], "pytest", "pytest-xdist"]
    requirement = torch if torch.endswith(".whl") else f"torch=={torch}"
    install = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--constraint", str(constraints)]
    subprocess.run([*install, requirement, *needed], check=True)

    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for file in Path(sysconfig.get_path("purelib")).glob("__editable__*condinst*"):  # it finds condinst.kernels
        shutil.copy(file, packages)
    return python


def check(torch: str) -> bool:
    """Whether the tests pass in one torch, given as a version or as the path of a wheel."""
    with tempfile.TemporaryDirectory(prefix="condinst-abi-") as folder:
        start = time.monotonic()
        python = create_environment(torch, Path(folder))
        installed = time.monotonic()
        print(f"torch {torch}: an environment in {installed - start:.0f} s", flush=True)
        list_packages = [python, "-m", "pip", "list", "--format=freeze"]
        for line in subprocess.run(list_packages, check=True, capture_output=True, text=True).stdout.splitlines():
            if line.partition("==")[0] in (*CHOSEN_BY_TORCH, "numpy"):
                print(line, flush=True)
        environment = {**os.environ, "CONDINST_BACKEND": "auto"}
        command = [python, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider"]
        runs = [subprocess.run([*command, *tests], cwd=ROOT, env=environment) for tests in (TESTS, MARKED)]
        print(f"torch {torch}: tests in {time.monotonic() - installed:.0f} s", flush=True)
        return all(done.returncode == 0 for done in runs)


if __name__ == "__main__":
    outcomes = {torch: check(torch) for torch in sys.argv[1:] or VERSIONS}
    for torch, right in outcomes.items():
        print(f"torch {torch}: {'right' if right else 'WRONG, see above'}")
    sys.exit(not all(outcomes.values()))
