"""How to test and time `condinst.ops.matrix_nms`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.ops.mask_nms.spec import (
    Candidates,
    bad_candidates,
    benchmark_candidates,
    make_candidates,
    native_candidates,
    packed,
    special_candidates,
)
from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def candidates(num_candidates: int, height: int, width: int, **options: int) -> Candidates:
        return packed(make_candidates(dtype, device, num_candidates, (height, width), **options))

    linear = {"kernel": "linear"}
    inputs = candidates(28, 21, 37)
    special = packed(special_candidates(dtype, device))
    masks, scores, labels, images = inputs
    one_class = candidates(40, 7, 11, num_labels=1, num_images=1)
    return [
        Sample("gaussian", inputs),
        Sample("linear", inputs, linear),
        *([Sample("one class", one_class, linear)] if dtype == torch.float32 else []),
        Sample("other sigma", inputs, {"sigma": 0.5}),
        Sample("special masks and scores, gaussian", special),
        Sample("special masks and scores, linear", special, linear),
        Sample("below a word", candidates(20, 5, 7), linear),
        Sample("many words", candidates(12, 70, 130)),
        Sample("sliced", (masks[1:, ::2], scores[1:], labels[1:], images[1:])),
        Sample("every second", tuple(tensor[::2] for tensor in inputs)),
        Sample("no pixels", (masks[:, :0], scores, labels, images)),
        Sample("no masks", (masks[:0], scores[:0], labels[:0], images[:0])),
        Sample("padding alone", (masks, scores, labels, images * 0 - 1)),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    return [("matrix_nms", (*candidates, "gaussian", 2.0)) for candidates in native_candidates(device)]


def _bad_inputs() -> list[BadInput]:
    zeros = torch.zeros(3, dtype=torch.int64)
    candidates: tuple[Tensor, ...] = (torch.ones(3, 4, 5, dtype=torch.bool), torch.rand(3), zeros, zeros)
    return [
        *bad_candidates(),
        BadInput("kernel", candidates, {"kernel": "box"}, ValueError, "kernel: expected one of .*got 'box'"),
        BadInput("sigma 0", candidates, {"sigma": 0.0}, ValueError, "sigma: expected a positive .*got 0.0"),
        BadInput("sigma text", candidates, {"sigma": "2"}, TypeError, "sigma: expected a number, got str"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    return [Sample(name, args) for name, args in benchmark_candidates(dtype, device).items()]


SPEC = OpSpec(
    name="matrix_nms",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    # the result is float32 whatever the scores are
    tolerances={torch.float32: Tolerance(1e-6, 0.0, "a few float32 operations on counts that are exact")},
    samples=_samples,
    small_samples=lambda _: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
    reference_compiles=False,
)
