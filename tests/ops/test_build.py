"""What was built: it is there, it is linked as promised, and it chooses the instruction set at run time."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import condinst
from condinst import _host
from condinst.backends import native as library

ROOT = Path(__file__).resolve().parents[2]


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_operator_library_is_loaded() -> None:
    assert library.ERROR is None


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_the_operator_library_needs_libtorch_cpu_and_no_python() -> None:
    dynamic = subprocess.run(["readelf", "-d", library.PATH], capture_output=True, text=True, check=True).stdout
    needed = {line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "(NEEDED)" in line}
    assert "libtorch_cpu.so" in needed
    assert not any("python" in name or "cuda" in name or "c10" in name for name in needed)
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic


def test_build_information() -> None:
    info = _host.build_info()
    assert info["version"] == condinst.__version__
    assert info["torch_target"] == "2.11"
    assert info["compiler"]
    with_cuda = "compiled with CUDA" in torch.ops.condinst.cuda_info()
    assert bool(info["cuda"]) == with_cuda
    assert bool(info["cuda_architectures"]) == with_cuda


def test_cuda_is_compiled_where_nvcc_is() -> None:
    if shutil.which("nvcc") and os.environ.get("CONDINST_CUDA", "auto") != "0":
        assert _host.build_info()["cuda"]


def _cuobjdump() -> str | None:
    """The CUDA toolkit's, or the one that comes with Triton."""
    triton = importlib.util.find_spec("triton")
    folders = [str(Path(triton.origin).parent / "backends/nvidia/bin")] if triton and triton.origin else []
    return shutil.which("cuobjdump") or shutil.which("cuobjdump", path=os.pathsep.join(folders))


@pytest.mark.skipif(not _host.build_info()["cuda"], reason="compiled without CUDA")
def test_every_cuda_source_is_in_the_library_for_every_architecture() -> None:
    cuobjdump = _cuobjdump()
    if cuobjdump is None:
        pytest.skip("needs cuobjdump")
    command = [cuobjdump, "--list-elf", "--list-ptx", str(library.BUILT)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    sources = len(list(ROOT.glob("kernels/*/*.cu")))
    for architecture in _host.build_info()["cuda_architectures"].split(","):
        number, _, kind = architecture.partition("-")  # no kind: both
        if kind != "virtual":
            assert listed.count(f".sm_{number}.cubin") == sources, listed
        if kind != "real":
            assert listed.count(f".sm_{number}.ptx") == sources, listed


@pytest.mark.skipif(not _host.build_info()["cuda"], reason="compiled without CUDA")
@pytest.mark.skipif("CONDINST_CUDA_ARCHITECTURES" in os.environ, reason="the list of architectures was chosen")
def test_the_default_architectures() -> None:
    architectures = _host.build_info()["cuda_architectures"].split(",")
    assert architectures == ["80-real", "90-real", "90-virtual"]


def test_cpu_features_agree_with_pytorch() -> None:
    features = _host.cpu_features()
    capability = torch.backends.cpu.get_cpu_capability()
    if capability == "AVX512":
        assert features["avx512f"] and features["avx512vl"] and features["avx2"]
    assert features["avx2"] or capability not in ("AVX2", "AVX512")


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_agrees_with_the_reference(isa: str) -> None:
    if ["baseline", "avx2", "avx512"].index(isa) > ["baseline", "avx2", "avx512"].index(_host.cpu_isa()):
        pytest.skip(f"this CPU has no {isa}")
    code = (
        "import torch\n"
        "from condinst import _host\n"
        "from condinst.backends import backend_table\n"
        "from condinst.testing import check\n"
        "from condinst.testing.specs import SPECS\n"
        "written = {row.op for row in backend_table() if row.backend == 'cpp' and row.status == 'available'}\n"
        "for spec in SPECS:\n"
        "    if spec.name in written:\n"
        "        check(spec, 'cpp', torch.device('cpu'))\n"
        "print(_host.cpu_isa())"
    )
    done = _python(code, CONDINST_CPU_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == isa


def test_unknown_instruction_set_is_refused() -> None:
    done = _python("from condinst import _host; _host.cpu_isa()", CONDINST_CPU_ISA="mmx")
    assert "CONDINST_CPU_ISA: expected baseline, avx2 or avx512" in done.stderr


def test_without_the_library_the_reference_works_and_the_table_says_why(tmp_path: Path) -> None:
    package = tmp_path / "condinst"
    shutil.copytree(Path(condinst.__file__).parent, package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import torch, condinst\n"
        f"assert condinst.__file__.startswith({str(tmp_path)!r})\n"
        "print(condinst.ops.dice_loss(torch.ones(1, 2), torch.ones(1, 2)).item() < 1e-4)\n"
        "print([r.reason for r in condinst.backends.backend_table() if (r.op, r.backend) == ('dice_loss', 'cpp')])\n"
        "condinst.ops.dice_loss(torch.ones(1, 2), torch.ones(1, 2), backend='cpp')\n"
    )
    done = _python(code)
    assert done.stdout.splitlines()[:1] == ["True"], done.stderr
    assert "is not built; run `make install`" in done.stdout
    assert "ValueError: dice_loss: backend 'cpp' cannot do this call: the operator library" in done.stderr


def test_kernels_are_a_package() -> None:
    """By the package_dir mapping of pyproject.toml, which mypy does not know."""
    assert importlib.import_module("condinst.kernels.dice_loss").__doc__
    assert all((path.parent / "__init__.py").exists() for path in (ROOT / "kernels").glob("*/*.py"))


def test_a_source_archive_would_hold_what_the_build_reads() -> None:
    """By the patterns of MANIFEST.in, which are all of one form."""
    kept: set[Path] = set()
    for line in (ROOT / "MANIFEST.in").read_text().splitlines():
        command, *words = line.split()
        if command == "recursive-include":
            kept.update(path for pattern in words[1:] for path in (ROOT / words[0]).rglob(pattern))
    needed = [path for room in ("csrc", "kernels") for path in (ROOT / room).rglob("*") if path.is_file()]
    needed += (ROOT / "tests").rglob("*.sh")
    forgotten = [path for path in needed if path not in kept and path.suffix not in (".py", ".pyc")]
    assert not forgotten


def test_a_wheel_would_hold_the_whole_package(tmp_path: Path) -> None:
    output = tmp_path / "lib"
    command = f"{sys.executable} setup.py --quiet egg_info --egg-base {tmp_path} build_py --build-lib {output}"
    subprocess.run(command.split(), cwd=ROOT, check=True, capture_output=True)
    built = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("condinst/**/*.py", "condinst/**/*.toml", "condinst/**/*.safetensors", "kernels/**/*.py")
        for path in ROOT.glob(pattern)
    }
    assert built >= {f"condinst/{path}" if path.startswith("kernels/") else path for path in wanted}
