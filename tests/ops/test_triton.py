"""The Triton kernels where there is no GPU: interpreted on CPU tensors, and compiled for GPUs that are not there."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from condinst.backends.registry import TRITON_INTERPRETED
from condinst.backends.triton import library, mask_head, one_pass
from condinst.testing import SPECS, Sample, check_sample
from condinst.testing.dynamic_mask_head import NATIVE_OPTIONS, mask_head_args
from condinst.testing.dynamic_mask_loss import with_targets
from condinst.testing.fcos_targets import make_objects

triton = pytest.importorskip("triton", reason="needs Triton")

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
MASKS = ("dice_loss", "dynamic_mask_head", "dynamic_mask_loss")
LOSSES = ("sigmoid_focal_loss", "giou_loss", "centerness_loss")
OPS = (*MASKS, *LOSSES, "fcos_targets", "mask_centers", "matrix_nms", "pack_masks")
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


Call = tuple[str, torch.dtype, dict[str, Any], int]


def _calls() -> dict[str, Call]:
    """What is compiled: operator, dtype, options and channels of the features, by name."""
    published: dict[str, Call] = {op: (op, torch.float32, {}, 8) for op in OPS}
    half: dict[str, Call] = {
        f"{op}, {dtype}": (op, dtype, {}, 8)
        for op in (*MASKS[:2], *LOSSES)
        for dtype in (torch.float16, torch.bfloat16)
    }
    options: list[tuple[dict[str, Any], int]] = [
        ({"upsample_factor": 1}, 8),
        ({"upsample_factor": 4}, 8),
        ({"num_layers": 1}, 8),
        ({"num_layers": 4, "channels": 16, "coordinates": "absolute"}, 16),
    ]
    varied = {f"dynamic_mask_loss, {o}": ("dynamic_mask_loss", torch.float32, o, c) for o, c in options}
    others: dict[str, Call] = {
        "matrix_nms, linear": ("matrix_nms", torch.float32, {"kernel": "linear"}, 8),
        "pack_masks, bool": ("pack_masks", torch.bool, {}, 8),
    }
    return {**published, **half, **varied, **others}


CALLS = _calls()


def _run_loss(op: str, dtype: torch.dtype) -> None:
    """The sum with its gradient, all losses without, and gradients for one factor and for one each."""
    adapter = importlib.import_module(f"condinst.backends.triton.{op}")
    wide = torch.promote_types(dtype, torch.float32)
    calls: dict[str, tuple[Any, ...]] = {
        "sigmoid_focal_loss": (torch.zeros(3, 80, dtype=dtype), torch.zeros(3, dtype=torch.int64), 0.25, 2.0),
        "giou_loss": (torch.ones(3, 4, dtype=dtype), torch.ones(3, 4, dtype=wide), torch.ones(3, dtype=wide), True),
        "centerness_loss": (torch.zeros(3, dtype=dtype), torch.zeros(3, dtype=wide)),
    }
    args = calls[op]
    adapter._forward(*args, True, True)
    losses, _ = adapter._forward(*args, False, False)
    adapter._backward(losses, *args)
    adapter._backward(losses.sum(), *args)


def _launches(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Kernel, arguments and constants of what the adapter launches for one of `CALLS`, without running it."""
    op, dtype, options, channels = CALLS[name]
    adapter = importlib.import_module(f"condinst.backends.triton.{op}")
    launches: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr(
        one_pass if op in LOSSES else adapter,
        "launch",
        lambda kernel, _, *args, **constants: launches.append((kernel, args, constants)),
    )
    if op in LOSSES:
        _run_loss(op, dtype)
        return launches
    grad, sums = torch.zeros(3), torch.zeros(3, 2)
    if op == "dice_loss":
        masks, targets = torch.zeros(3, 8, 8, dtype=dtype), torch.zeros(3, 8, 8, dtype=torch.bool)
        adapter._forward(masks, targets, 1e-5)
        adapter._backward(grad.to(torch.promote_types(dtype, torch.float32)), sums, masks, targets)
        return launches
    if op == "fcos_targets":
        boxes, labels, centers, images = make_objects(3, 2)
        for given in (centers, None):
            adapter._forward(boxes, labels, given, images, 2, 9, [5, 7], [8], [], 1.5)
        return launches
    if op == "mask_centers":
        adapter._forward(torch.zeros(3, 8, 8, dtype=torch.bool))
        return launches
    if op == "matrix_nms":
        index = torch.arange(3)
        adapter._forward(index[:, None], grad.to(dtype), index, index, options.get("kernel", "gaussian"), 2.0)
        return launches
    if op == "pack_masks":
        adapter._forward(torch.zeros(3, 8, 9, dtype=dtype), 0.5)
        return launches
    stride, *rest = NATIVE_OPTIONS
    names = ("num_layers", "channels", "coordinates", "use_features", "upsample_factor")
    all_options = (stride, *(options.get(key, value) for key, value in zip(names, rest, strict=True)))
    args = mask_head_args(dtype, CPU, 3, (5, 6), options, feature_channels=channels)
    if op == "dynamic_mask_head":
        logits = adapter._forward(*args, *all_options)
        adapter._backward(logits, *args, *all_options)
    else:
        args = with_targets(args, 2, options.get("upsample_factor", 2))
        adapter._forward(*args, *all_options, 1e-5)
        wide = torch.promote_types(dtype, torch.float32)
        adapter._backward(grad.to(wide), sums.to(wide), *args, *all_options)
    return launches


TYPES = {
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.uint8: "*u8",
    torch.int64: "*i64",
}
SCALARS = {int: "i32", float: "fp32"}
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


def _compile(kernel: Any, args: tuple[Any, ...], constants: dict[str, Any], architecture: int) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constexprs = {name: constants[name] for name in kernel.arg_names if name in constants}
    options = {name: value for name, value in constants.items() if name not in constexprs}
    types = [TYPES[arg.dtype] if isinstance(arg, torch.Tensor) else SCALARS[type(arg)] for arg in args]
    signature = dict(zip(kernel.arg_names, [*types, *["constexpr"] * len(constexprs)], strict=True))
    source = ASTSource(kernel, signature=signature, constexprs=constexprs)
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


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
    launches = _launches(monkeypatch, name)
    assert len(launches) == NUM_LAUNCHES[CALLS[name][0]]
    for kernel, args, constants in launches:
        compiled = _compile(kernel, args, constants, architecture)
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
