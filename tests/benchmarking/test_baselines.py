"""What the benchmarks compare with computes the same as the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from condinst import reference
from condinst.testing.baselines import (
    chunked_matmul,
    chunked_matmul_loss,
    grouped_convolution,
    grouped_convolution_loss,
)
from condinst.testing.dynamic_mask_head import mask_head_args
from condinst.testing.dynamic_mask_loss import with_targets

Baseline = Callable[..., Tensor]

CPU = torch.device("cpu")


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
    torch.testing.assert_close(baseline(*args, **options), reference.dynamic_mask_head(*args, **options))


@pytest.mark.parametrize("baseline", [grouped_convolution_loss, chunked_matmul_loss])
def test_losses_and_gradients(baseline: Baseline) -> None:
    features, params, *rest = with_targets(mask_head_args(torch.float64, CPU, 11, (5, 7), {}), 3)
    leaves = (features.requires_grad_(), params.requires_grad_())
    expected = reference.dynamic_mask_loss(*leaves, *rest)
    actual = baseline(*leaves, *rest)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(torch.autograd.grad(actual, leaves), torch.autograd.grad(expected, leaves))
