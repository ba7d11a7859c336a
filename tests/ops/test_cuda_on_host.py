"""Runs the CUDA sources on the CPU: the tests of the operators, in a process whose backend "cpp" is the CUDA code.

`make build` puts the library there; tests/cuda_on_host says how it works.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from condinst.testing.specs import SPECS

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build/cuda_on_host/libcondinst_ops_cuda_on_host.so"
SHIM = ROOT / "tests/cuda_on_host"

# One block per mask and tens of thousands of masks, for conversions that are nvcc's on a GPU and simd.h's here.
NOT_HERE = "every_half_precision or rounded_to_nearest or gpu"


def _passed(report: Path) -> list[str]:
    """Names of the tests that passed, from pytest's report in XML."""
    return [
        case.get("name", "")
        for case in ElementTree.parse(report).iter("testcase")
        if not {child.tag for child in case} & {"skipped", "failure", "error"}
    ]


@pytest.mark.slow
def test_the_operators_pass_their_tests(tmp_path: Path) -> None:
    assert LIBRARY.exists(), f"{LIBRARY.relative_to(ROOT)} is not built; run `make build`"
    kernels = {path.parent.name for path in (ROOT / "kernels").glob("*/*.cu")}
    written = [spec.name for spec in SPECS if spec.name in kernels]
    assert written
    differentiable = {spec.name for spec in SPECS if spec.differentiable != ()}
    report = tmp_path / "report.xml"
    own = [path.name for path in Path(__file__).parent.glob("test_*_cuda.py")]  # tests of CUDA kernels alone
    files = ["test_op_specs.py", *(f"test_{name}.py" for name in written), *own]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"),
            *(
                "-k",
                f"(cpp or opcheck or inductor or _cuda) and ({' or '.join(written)}) and not ({NOT_HERE})",
            ),
            *(f"tests/ops/{file}" for file in files),
        ],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "CONDINST_LIBRARY": str(LIBRARY),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = _passed(report)
    for name in written:
        assert f"test_agrees_with_reference[{name}-cpp-cpu]" in passed, done.stdout
        if name in differentiable:
            assert f"test_gradcheck[{name}-cpp-cpu]" in passed, done.stdout
        assert f"test_opcheck[{name}-cpp-cpu]" in passed, done.stdout


@pytest.mark.slow
def test_the_goldens_hold(tmp_path: Path) -> None:
    """The model in this repository against AdelaiDet, its operators computed by the CUDA code."""
    report = tmp_path / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", f"--junit-xml={report}", "-k", "cpp"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests/models/test_goldens.py"],
        cwd=ROOT,
        env={**os.environ, "CONDINST_LIBRARY": str(LIBRARY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(_passed(report)) == 9, done.stdout


def _run_library(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CONDINST_LIBRARY": str(LIBRARY)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_variable_chooses_the_library() -> None:
    assert _run_library("import condinst.ops, torch; print(torch.ops.condinst.cuda_info())").startswith(
        "compiled for the host"
    )


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_only_shared_arrays_are_thread_local() -> None:
    """All that is thread-local in the library is overwritten before each block."""
    command = ["readelf", "--symbols", "--wide", str(LIBRARY)]
    symbols = [line.split() for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines()]
    thread_local = [words[-1] for words in symbols if "TLS" in words]
    assert thread_local
    assert all("8condinst" in name for name in thread_local), thread_local


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that makes one mistake, by name."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    assert compiler is not None
    program = tmp_path_factory.mktemp("mistakes") / "mistakes"
    sources = [ROOT / "tests/ops/cuda_on_host_mistakes.cpp", SHIM / "cuda_on_host.cpp"]
    options = ["-std=c++17", "-O1", "-Wno-psabi", f"-I{SHIM}", "-DCONDINST_CUDA_ON_HOST", "-DCONDINST_ISA=baseline"]
    subprocess.run([compiler, *options, *sources, "-o", program], check=True)
    return program


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("nothing", "right"),
        ("leave", "kernel leave: block (0, 0, 0): the threads do not meet: 63 wait at __syncthreads, 0 in warp"),
        ("half_a_warp", "32 wait at __syncthreads, 16 in warp operations, 16 have left"),
        ("two_masks", "lanes of one warp operation have different masks"),
        ("not_in_mask", "a lane calls a warp operation whose mask does not hold it"),
        ("small_block", "the mask of a warp operation holds lanes that the block does not have"),
        ("foreign_lane", "a shuffle reads a lane that is not in its mask"),
        ("beyond_shared", "write outside of the dynamic shared memory"),
        ("before_shared", "write outside of the dynamic shared memory"),
        ("too_many_threads", "invalid block (1025, 1, 1)"),
        ("no_blocks", "invalid grid (0, 1, 1)"),
        ("too_much_shared", "bytes of shared memory are more than sm_80 has"),
        ("unwritten_static", "nan"),
        ("unwritten_dynamic", "nan"),
        ("missing_barrier", "differs"),
    ],
)
def test_mistakes_are_seen(mistakes: Path, mistake: str, message: str) -> None:
    done = subprocess.run([mistakes, mistake], capture_output=True, text=True, check=True)
    assert message in done.stdout
    assert "then: right" in done.stdout  # the next launch is not harmed
