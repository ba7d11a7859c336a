"""How to test and time `condinst.ops.dynamic_mask_loss`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.ops.dynamic_mask_head.spec import (
    GRADIENTS,
    NATIVE_OPTIONS,
    SMALL_OPTIONS,
    bad_mask_head_inputs,
    layout_samples,
    mask_head_args,
    native_args,
    option_samples,
)
from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance


def with_targets(args: tuple[Tensor, ...], num_targets: int, factor: int = 2) -> tuple[Tensor, ...]:
    """Arguments of the head, random targets [G, H*f, W*f] bool with about 40 % ones, and the targets' indices [K]."""
    generator = torch.Generator().manual_seed(num_targets)
    height, width = args[0].shape[2:]
    masks = torch.rand(num_targets, height * factor, width * factor, generator=generator) > 0.6
    indices = torch.randint(max(num_targets, 1), (args[1].shape[0],), generator=generator)
    return (*args, masks.to(args[0].device), indices.to(args[0].device))


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    none = {"reduction": "none"}
    samples = [
        Sample(
            sample.name,
            with_targets(sample.args, 3, sample.kwargs.get("upsample_factor", 2)),
            {**sample.kwargs, **none},
        )
        for sample in [*layout_samples(dtype, device), *option_samples(dtype, device)]
    ]
    args = with_targets(mask_head_args(dtype, device, 5, (5, 7), {}), 2)
    nothing = mask_head_args(dtype, device, 0, (5, 7), {})
    head, masks, indices = args[:5], args[5], args[6]
    return [
        *samples,
        Sample("mean", args, {"reduction": "mean"}),
        Sample("sum", args, {"reduction": "sum"}),
        Sample("uint8 targets", (*head, masks.to(torch.uint8), indices), none),
        Sample(
            "sliced targets", (*head, masks.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, 2::4, 2::4], indices)
        ),
        Sample("transposed targets", (*head, masks.mT.contiguous().mT, indices)),
        Sample("empty targets", (*head, masks & False, indices), none),
        Sample("other eps", args, {"eps": 1.0}),
        *(
            Sample(f"no instances, no targets, {reduction}", with_targets(nothing, 0), {"reduction": reduction})
            for reduction in ("mean", "sum", "none")
        ),
    ]


def _small_samples(device: torch.device) -> list[Sample]:
    samples = []
    for options in SMALL_OPTIONS:
        args = mask_head_args(torch.float64, device, 3, (3, 5), options, feature_channels=3)
        samples.append(Sample(str(options), with_targets(args, 2, options.get("upsample_factor", 2)), options))
    return samples


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for args in native_args(device):
        features, params, *rest = with_targets(args, 2)
        leaves = (features.detach().requires_grad_(), params.detach().requires_grad_())
        calls.append(("dynamic_mask_loss", (features, params, *rest, *NATIVE_OPTIONS, 1e-5)))
        calls.append(("dynamic_mask_loss", (*leaves, *rest, *NATIVE_OPTIONS, 1e-5)))
        count = params.shape[0]
        grad, sums = torch.rand(count, device=device), torch.rand(count, 2, device=device) + 1
        calls.append(("dynamic_mask_loss_backward", (grad, sums, features, params, *rest, *NATIVE_OPTIONS)))
    return calls


def _bad_inputs() -> list[BadInput]:
    args = with_targets(mask_head_args(torch.float32, torch.device("cpu"), 3, (4, 6), {}), 2)
    head, masks, indices = args[:5], args[5], args[6]
    return [
        *bad_mask_head_inputs(masks, indices),
        BadInput("float targets", (*head, masks.float(), indices), {}, TypeError, "target_masks: expected dtype bool"),
        BadInput("target shape", (*head, masks[:, 1:], indices), {}, ValueError, r"target_masks: .*\[2, 8, 12\]"),
        BadInput("flat targets", (*head, masks[0], indices), {}, ValueError, "target_masks: expected 3 dimensions"),
        BadInput("target device", (*head, masks.to("meta"), indices), {}, ValueError, "target_masks: .*got meta"),
        BadInput("too few", (*head, masks, indices[1:]), {}, ValueError, r"target_indices: .*\[3\], got \[2\]"),
        BadInput("index 2 of 2", (*head, masks, indices * 0 + 2), {}, ValueError, r"target_indices: .*0 \.\. 1, got 2"),
        BadInput("eps 0", args, {"eps": 0.0}, ValueError, "eps: expected a positive .*got 0.0"),
        BadInput("reduction", args, {"reduction": "max"}, ValueError, "reduction: .*got 'max'"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # a training step of two images of 800 x 1088 with the paper's 64 locations each
    args = mask_head_args(dtype, device, 128, (100, 136), {}, num_images=2)
    return [Sample("128 x 100x136", with_targets(args, 20))]


_SUMS = "float32 sums of numbers in 0..1 over all pixels, of logits that are off by 2e-5 of the largest"

SPEC = OpSpec(
    name="dynamic_mask_loss",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={
        torch.float64: Tolerance(1e-12, 0, "sums of numbers in 0..1 over all pixels"),
        torch.float32: Tolerance(2e-5, 0, _SUMS),
    },
    gradient_tolerances={
        torch.float64: Tolerance(0, 1e-12, "sums over the pixels of all instances, of both signs"),
        torch.float32: Tolerance(0, 1e-4, GRADIENTS),
        torch.float16: Tolerance(2**-11, 1e-4, f"rounded once to 11 bits; {GRADIENTS}"),
        torch.bfloat16: Tolerance(2**-8, 1e-4, f"rounded once to 8 bits; {GRADIENTS}"),
    },
    samples=_samples,
    small_samples=_small_samples,
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(0, 1),
)
