"""The Triton kernels where there is no GPU: interpreted on CPU tensors, and compiled for GPUs that are not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from condinst.backends import triton as library
from condinst.backends.registry import TRITON_INTERPRETED
from condinst.ops.common import mask_network_triton as mask_head
from condinst.ops.dynamic_mask_head.spec import NATIVE_OPTIONS, mask_head_args
from condinst.ops.dynamic_mask_loss.spec import with_targets
from condinst.testing import Sample, check_sample
from condinst.testing.specs import SPECS

from .triton_launches import CALLS, CPU, LOSSES, OPS, Device, record_launches

triton = pytest.importorskip("triton", reason="needs Triton")

ROOT = Path(__file__).resolve().parents[2]
MASK_HEAD = [spec for spec in SPECS if spec.name.startswith("dynamic_mask")]
WITH_GRADIENT = [spec for spec in SPECS if spec.name in OPS and spec.differentiable != ()]

interpreted = pytest.mark.skipif(not TRITON_INTERPRETED, reason="runs where TRITON_INTERPRET=1")


def _python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _interpret(selection: str, *files: str) -> int:
    """Number of tests that pass in the interpreter; it has to be on before Triton is imported."""
    done = _python("-m", "pytest", "-q", "-p", "no:xdist", "-k", selection, *files, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    return int(passed.group(1)) if passed else 0


@pytest.mark.slow
@pytest.mark.skipif(TRITON_INTERPRETED, reason="starts the interpreter")
@pytest.mark.parametrize("op", OPS)
def test_op_specs_in_the_interpreter(op: str) -> None:
    assert _interpret(f"{op}-triton", "tests/ops/test_op_specs.py") >= 5  # gradcheck is skipped without a gradient


@pytest.mark.slow
@pytest.mark.skipif(TRITON_INTERPRETED, reason="starts the interpreter")
def test_more_in_the_interpreter() -> None:
    # left out: tests with 40000 masks and more, each of which is a program
    selection = "interpreted or (triton and not half_precision and not rounded)"
    assert _interpret(selection, *(f"tests/ops/test_{name}.py" for name in ("triton", "dice_loss", "pack_masks"))) >= 4


@pytest.mark.slow
@pytest.mark.skipif(TRITON_INTERPRETED, reason="starts the interpreter")
def test_a_golden_holds_in_the_interpreter() -> None:
    """Mask logits and a training step of AdelaiDet's model; all goldens in the interpreter take five minutes."""
    assert _interpret("triton and (top64 or (logits and r50))", "tests/models/test_goldens.py") == 2


@interpreted
@pytest.mark.parametrize("spec", MASK_HEAD, ids=lambda spec: spec.name)
def test_interpreted_chunks_of_several_tiles(spec: Any) -> None:
    args = mask_head_args(torch.float32, CPU, 1, (31, 120), {}, num_images=1)
    sample = Sample("27 tiles", with_targets(args, 1) if spec.name == "dynamic_mask_loss" else args)
    features, params, locations, images, sizes = args
    instances = mask_head.prepare(features, params, locations, images, sizes, *NATIVE_OPTIONS)
    assert instances.num_tiles > instances.num_chunks
    check_sample(spec, "triton", sample)


@interpreted
def test_interpreted_indices_out_of_range_give_nan() -> None:
    """`condinst.ops` refuses them on the CPU, but cannot look at them on a GPU."""
    features, params, locations, images, sizes = mask_head_args(torch.float32, CPU, 4, (5, 6), {})
    bad_images = torch.tensor([0, 2, 1, -1])
    features, params = features.requires_grad_(), params.requires_grad_()
    ops = torch.ops.condinst_triton
    logits = ops.dynamic_mask_head(features, params, locations, bad_images, sizes, *NATIVE_OPTIONS)
    assert logits.flatten(1).isnan().all(1).tolist() == [False, True, False, True]
    assert not logits[::2].isnan().any()
    grads = torch.autograd.grad(logits.sum(), (features, params))
    assert not grads[0].isnan().any()
    assert grads[1].isnan().all(1).tolist() == [False, True, False, True]

    targets = torch.ones(2, 10, 12, dtype=torch.bool)
    bad_images, bad_targets = torch.tensor([0, 2, 1, 1]), torch.tensor([0, 1, -1, 1])
    losses, sums = ops.dynamic_mask_loss(
        features, params, locations, bad_images, sizes, targets, bad_targets, *NATIVE_OPTIONS, 1e-5
    )
    assert losses.isnan().tolist() == [False, True, True, False]
    assert sums.isnan().all(1).tolist() == [False, True, True, False]
    grads = torch.autograd.grad(losses.sum(), (features, params))
    assert not grads[0].isnan().any() and grads[0].abs().sum() > 0
    assert grads[1].isnan().all(1).tolist() == [False, True, True, False]


@interpreted
def test_interpreted_nan_stays_where_it_belongs() -> None:
    features, params, locations, images, sizes = mask_head_args(torch.float32, CPU, 2, (9, 20), {}, num_images=1)
    features[0, 3, 4, 7] = torch.nan
    logits = torch.ops.condinst_triton.dynamic_mask_head(features, params, locations, images, sizes, *NATIVE_OPTIONS)
    expected = torch.zeros(2, 18, 40, dtype=torch.bool)
    expected[:, 8:11, 14:17] = True
    assert torch.equal(logits.isnan(), expected)


@interpreted
@pytest.mark.parametrize("spec", WITH_GRADIENT, ids=lambda spec: spec.name)
def test_interpreted_second_derivative_is_refused(spec: Any) -> None:
    sample = spec.samples(torch.float32, CPU)[1]
    args = spec.with_gradients(sample.args)
    leaves = [arg for arg in args if isinstance(arg, torch.Tensor) and arg.requires_grad]
    output = spec.op(*args, **sample.kwargs, backend="triton").sum()
    grads = torch.autograd.grad(output, leaves, create_graph=True)
    with pytest.raises(NotImplementedError, match=f"{spec.name}: .*backend='reference'"):
        grads[0].sum().backward()


def test_without_triton_the_table_says_so() -> None:
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, condinst\n"
        "rows = condinst.backends.backend_table()\n"
        "print([row.reason for row in rows if (row.op, row.backend) == ('dice_loss', 'triton')])\n"
        "print(condinst.ops.dice_loss(torch.ones(1, 2), torch.ones(1, 2)).item() < 1e-4)\n"
        "condinst.ops.dice_loss(torch.ones(1, 2), torch.ones(1, 2), backend='triton')\n"
    )
    done = _python("-c", code)
    assert done.stdout.splitlines() == ["['Triton is not installed']", "True"], done.stderr
    assert "ValueError: dice_loss: backend 'triton' cannot do this call: Triton is not installed" in done.stderr


def test_widths_that_the_kernels_do_not_have() -> None:
    features, params = torch.zeros(1, 16, 2, 2), torch.zeros(1, 1)
    reason = mask_head.unsupported_reason
    assert reason(features, params, num_layers=4, channels=16) is None
    assert "got num_layers 5" in str(reason(features, params, num_layers=5, channels=8))
    assert "got channels 17" in str(reason(features, params, num_layers=3, channels=17))
    assert "got mask_features of 17" in str(reason(torch.zeros(1, 17, 2, 2), params, num_layers=3, channels=8))
    if not TRITON_INTERPRETED:
        assert "float64" in str(reason(features.double(), params.double(), num_layers=3, channels=8))


NUM_LAUNCHES = {
    "dice_loss": 2,
    "dynamic_mask_head": 3,
    "dynamic_mask_loss": 3,
    "fcos_targets": 2,
    "mask_centers": 1,
    "matrix_nms": 3,
    "pack_masks": 1,
    **dict.fromkeys(LOSSES, 4),
}


def _registers(cubin: bytes, path: Path) -> str:
    """Registers and stack of a kernel in words, by the cuobjdump that comes with Triton."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        return "registers unknown"
    path.write_bytes(cubin)
    usage = subprocess.run([tool, "--dump-resource-usage", path], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    return f"{found.group(1)} registers, {found.group(2)} bytes of stack"


@pytest.mark.slow
@pytest.mark.skipif(TRITON_INTERPRETED, reason="interpreted kernels cannot be compiled")
@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("name", CALLS)
def test_compiles_ahead_of_time(
    name: str, architecture: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, record_property: Any
) -> None:
    if not (Path(triton.__file__).parent / "backends/nvidia/bin/ptxas").exists():
        pytest.skip("this Triton comes without ptxas")
    monkeypatch.setattr(triton.runtime.driver, "_active", Device(architecture))
    launches = record_launches(monkeypatch, name)
    assert len(launches) == NUM_LAUNCHES[CALLS[name][0]]
    for kernel, args, constants in launches:
        compiled = kernel.run(*args, grid=(1,), warmup=True, **constants)  # as a launch compiles it
        cubin = compiled.asm["cubin"]
        assert cubin.startswith(b"\x7fELF") and compiled.metadata.shared <= 163 * 1024  # what sm_80 has for a block
        used = _registers(cubin, tmp_path / "kernel.cubin")
        record_property(f"{kernel.__name__}, sm_{architecture}", used)
        print(f"{kernel.__name__}, sm_{architecture}, {name}: {used}, {compiled.metadata.shared} bytes shared")
        recent = tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 8)  # 3.6 spills
        if recent and CALLS[name][1:] == (torch.float32, {}, 8):
            stack = int(re.search(r"(\d+) bytes of stack", used).group(1))  # type: ignore[union-attr]
            assert stack <= 64, f"the published model's kernel spills registers: {used}"


def test_the_table_has_a_reason_without_a_device() -> None:
    if library.UNAVAILABLE is not None:
        assert "no CUDA device" in library.UNAVAILABLE


def test_a_triton_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        """Fails as Triton's does on a machine with a GPU and without a compiler."""

        @property
        def active(self) -> Any:
            raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(triton.runtime, "driver", Driver())
    start = library._start.__wrapped__  # without its cache
    assert start() == "Triton does not start: Failed to find C compiler."
    monkeypatch.undo()
    monkeypatch.setattr(triton.runtime.driver, "_active", Device(90))
    assert start() is None
