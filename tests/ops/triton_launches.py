"""The launches of the Triton adapters, recorded without a GPU, and a stand-in for the GPU that Triton requires."""

from __future__ import annotations

import ast
import importlib
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from condinst.ops.common import one_pass_triton as one_pass
from condinst.ops.dynamic_mask_head.spec import NATIVE_OPTIONS, mask_head_args
from condinst.ops.dynamic_mask_loss.spec import with_targets
from condinst.ops.fcos_targets.spec import make_objects

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
CPU = torch.device("cpu")
MASKS = ("dice_loss", "dynamic_mask_head", "dynamic_mask_loss")
LOSSES = ("sigmoid_focal_loss", "giou_loss", "centerness_loss")
OPS = (*MASKS, *LOSSES, "fcos_targets", "mask_centers", "matrix_nms", "pack_masks")

MAP_SIZE = (100, 136)
"""Features of an image of 800 x 1088. Triton compiles a kernel again for sizes that are 1 or multiples of 16, so the
sizes here are those of the published model."""

Call = tuple[str, torch.dtype, dict[str, Any], int]
Launch = tuple[Any, tuple[Any, ...], dict[str, Any]]


def _calls() -> dict[str, Call]:
    """Operator, dtype, options and channels of the features of the calls that tests record, by name."""
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
    options_and_dtypes: dict[str, Call] = {
        "matrix_nms, linear": ("matrix_nms", torch.float32, {"kernel": "linear"}, 8),
        "pack_masks, bool": ("pack_masks", torch.bool, {}, 8),
    }
    return {**published, **half, **varied, **options_and_dtypes}


CALLS = _calls()


def _run_loss(op: str, dtype: torch.dtype) -> None:
    """Runs the sum with its gradient, all losses without it, and backward for one factor and for a factor per loss."""
    adapter = importlib.import_module(f"condinst.ops.{op}.triton")
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


def record_launches(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Launch]:
    """Kernel, arguments and constants of every launch of an adapter in one of `CALLS`. Nothing runs."""
    op, dtype, options, channels = CALLS[name]
    adapter = importlib.import_module(f"condinst.ops.{op}.triton")
    launches: list[Launch] = []
    monkeypatch.setattr(
        one_pass if op in LOSSES else adapter,
        "launch",
        lambda kernel, _, *args, **constants: launches.append((kernel, args, constants)),
    )
    if op in LOSSES:
        _run_loss(op, dtype)
        return launches
    height, width = MAP_SIZE
    masks = torch.zeros(3, 2 * height, 2 * width, dtype=dtype)
    grad, sums = torch.zeros(3), torch.zeros(3, 2)
    if op == "dice_loss":
        targets = masks.bool()
        adapter._forward(masks, targets, 1e-5)
        adapter._backward(grad.to(torch.promote_types(dtype, torch.float32)), sums, masks, targets)
        return launches
    if op == "fcos_targets":
        boxes, labels, centers, images = make_objects(3, 2)
        for mass_centers in (centers, None):
            adapter._forward(boxes, labels, mass_centers, images, 2, 9, [height, width], [8], [], 1.5)
        return launches
    if op == "mask_centers":
        adapter._forward(masks.bool())
        return launches
    if op == "matrix_nms":
        index = torch.arange(3)
        packed = torch.zeros(3, masks[0].numel() // 64, dtype=torch.int64)
        adapter._forward(packed, grad.to(dtype), index, index, options.get("kernel", "gaussian"), 2.0)
        return launches
    if op == "pack_masks":
        adapter._forward(masks, 0.5)
        return launches
    stride, *rest = NATIVE_OPTIONS
    names = ("num_layers", "channels", "coordinates", "use_features", "upsample_factor")
    all_options = (stride, *(options.get(key, value) for key, value in zip(names, rest, strict=True)))
    args = mask_head_args(dtype, CPU, 3, MAP_SIZE, options, feature_channels=channels)
    if op == "dynamic_mask_head":
        logits = adapter._forward(*args, *all_options)
        adapter._backward(logits, *args, *all_options)
    else:
        args = with_targets(args, 2, options.get("upsample_factor", 2))
        adapter._forward(*args, *all_options, 1e-5)
        wide = torch.promote_types(dtype, torch.float32)
        adapter._backward(grad.to(wide), sums.to(wide), *args, *all_options)
    return launches


def read_kernel_names() -> set[tuple[str, str]]:
    """File and name of all Triton kernels: the ``@triton.jit`` functions that no other such function calls."""
    defined = set()
    called = set()
    for path in KERNELS.glob("*/*_triton.py"):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and any("jit" in ast.unparse(d) for d in function.decorator_list):
                defined.add((path.stem, function.name))
                calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
                called |= {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    return {(file, name) for file, name in defined if name not in called}


class Device:
    """Replaces Triton's driver: it reports a GPU of an architecture, but cannot launch kernels.

    Each has a different number, because Triton caches compiled kernels by the number of the device.
    """

    numbers = itertools.count(1000)

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture
        self.number = next(self.numbers)

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> int:
        return self.number

    def get_current_stream(self, device: int) -> int:
        return 0
