"""What the benchmarks compare with computes the same as the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from condinst.benchmarking.mask_head_baselines import chunked_matmul, grouped_convolution
from condinst.ops.dynamic_mask_head.reference import dynamic_mask_head as reference_head
from condinst.ops.dynamic_mask_head.spec import mask_head_args
from condinst.ops.dynamic_mask_loss.reference import dynamic_mask_loss as reference_loss
from condinst.ops.dynamic_mask_loss.spec import with_targets
from studies.baselines import chunked_matmul_loss, eager_detections, grouped_convolution_loss
from studies.detection import Detected, check_detections, detection_inputs, post_process

Baseline = Callable[..., Tensor]

CPU = torch.device("cpu")

EAGER_OPTIONS: dict[str, Any] = {"strides": (8, 16, 32, 64, 128), "score_threshold": 0.05, "iou_threshold": 0.6}


@pytest.mark.parametrize("baseline", [grouped_convolution, chunked_matmul])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 1},
        {"num_layers": 2, "channels": 16, "upsample_factor": 4},
        {"num_layers": 4, "channels": 2, "upsample_factor": 1},
        {"feature_stride": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize(("num_instances", "num_images"), [(1, 1), (13, 3)])
def test_heads(baseline: Baseline, options: dict[str, Any], num_instances: int, num_images: int) -> None:
    args = mask_head_args(torch.float64, CPU, num_instances, (5, 7), options, num_images=num_images)
    torch.testing.assert_close(baseline(*args, **options), reference_head(*args, **options))


@pytest.mark.parametrize("baseline", [grouped_convolution_loss, chunked_matmul_loss])
def test_losses_and_gradients(baseline: Baseline) -> None:
    features, params, *rest = with_targets(mask_head_args(torch.float64, CPU, 11, (5, 7), {}), 3)
    leaves = (features.requires_grad_(), params.requires_grad_())
    expected = reference_loss(*leaves, *rest)
    actual = baseline(*leaves, *rest)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(torch.autograd.grad(actual, leaves), torch.autograd.grad(expected, leaves))


@pytest.mark.parametrize(("top_k", "max_detections"), [(1000, 200), (20, 7), (3, 1000)])
def test_detections(top_k: int, max_detections: int) -> None:
    """The eager chain finds what decode_detections and nms find, on kernels and by their references."""
    sizes = ((17, 19), (9, 10), (5, 5), (3, 3), (2, 2))
    inputs = detection_inputs(CPU, 3, sizes, num_classes=9, mean=-7.0)
    levels = {"level_sizes": list(sizes)}
    options = {**EAGER_OPTIONS, **levels, "top_k": top_k, "max_detections": max_detections}
    found = eager_detections(*inputs, **options)
    counts = [scores.shape[0] for _, scores, _, _ in found]
    assert min(counts) > 0 and (max_detections > 100 or counts == [max_detections] * 3)
    for backend in ("reference", "cpp"):
        check_detections(found, post_process(*inputs, **options, backend=backend))


def test_other_detections_are_refused() -> None:
    inputs = detection_inputs(CPU, 1, ((9, 9),), num_classes=9, mean=-4.0)
    options = {**EAGER_OPTIONS, "strides": (8,), "level_sizes": [(9, 9)], "top_k": 50, "max_detections": 20}
    found = eager_detections(*inputs, **options)
    detected = post_process(*inputs, **options)
    check_detections(found, detected)
    for wrong in (
        Detected(detected.boxes, detected.scores, detected.labels.flip(1), detected.location_indices, detected.counts),
        detected._replace(boxes=detected.boxes + 1),
        detected._replace(counts=detected.counts - 1),
    ):
        with pytest.raises(AssertionError):
            check_detections(found, wrong)
