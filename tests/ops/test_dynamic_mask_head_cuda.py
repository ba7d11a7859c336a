"""The CUDA kernels of `dynamic_mask_head` and `dynamic_mask_loss` beyond the OpSpecs: indices out of range, large maps.

On a GPU, and without one in the process of test_cuda_on_host.py, whose CPU tensors get the CUDA kernels.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from condinst import ops
from condinst.ops.dynamic_mask_head.reference import dynamic_mask_head as reference_head
from condinst.ops.dynamic_mask_head.spec import mask_head_args
from condinst.ops.dynamic_mask_loss.reference import dynamic_mask_loss as reference_loss
from condinst.ops.dynamic_mask_loss.spec import with_targets
from condinst.testing import Sample, check_sample
from condinst.testing.specs import SPECS

OPTIONS = (8, 3, 8, "relative", True, 2)
"""feature_stride, num_layers, channels, coordinates, use_features, upsample_factor"""

FAR = 1 << 40  # reading there ends the process
BAD_INDICES = (0, FAR, 1, -1, 2)
GOOD = torch.tensor([0, 2])


def _on_host() -> bool:
    return hasattr(torch.ops.condinst, "cuda_info") and torch.ops.condinst.cuda_info().startswith("compiled for the")


@pytest.fixture(params=["host", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "host" and not _on_host():
        pytest.skip("the library of this process has no CUDA kernels for the host")
    return torch.device("cpu" if request.param == "host" else "cuda")


def _rows(args: tuple[Tensor, ...], rows: Tensor) -> tuple[Any, ...]:
    """The instances `rows` of the arguments of the head."""
    features, *of_instances = args
    return (features, *(tensor[rows.to(tensor.device)] for tensor in of_instances))


def _head_args(device: torch.device, image_indices: tuple[int, ...]) -> tuple[Tensor, ...]:
    features, params, locations, _, sizes = mask_head_args(torch.float32, device, 5, (6, 9), {})
    return features, params, locations, torch.tensor(image_indices, device=device), sizes


def _assert_as_reference(
    args: tuple[Tensor, ...], actual: tuple[Tensor, Tensor, Tensor], expected: Tensor, grads: Tensor
) -> None:
    """Output and gradients of features and params; `expected` and `grads` are of the GOOD instances alone."""
    good, bad = GOOD.to(grads.device), torch.tensor([1, 3, 4], device=grads.device)
    features, params = args[:2]
    expected_features, expected_params = torch.autograd.grad(expected, (features, params), grads)
    output, grad_features, grad_params = actual
    torch.testing.assert_close(output[good], expected.detach())
    assert output[bad].isnan().all()
    torch.testing.assert_close(grad_features, expected_features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grad_params[good], expected_params[good], rtol=1e-4, atol=1e-4)
    assert grad_params[bad].isnan().all()


def test_image_index_out_of_range_gives_nan(device: torch.device, poisoned_memory: None) -> None:
    args = _head_args(device, BAD_INDICES)
    logits = torch.ops.condinst.dynamic_mask_head(*args, *OPTIONS)
    grad = torch.rand_like(logits)
    gradients = torch.ops.condinst.dynamic_mask_head_backward(grad, *args, *OPTIONS)
    leaves = tuple(tensor.requires_grad_() if tensor.is_floating_point() else tensor for tensor in args[:2])
    expected = reference_head(*_rows((*leaves, *args[2:]), GOOD))
    _assert_as_reference(leaves, (logits, *gradients), expected, grad[GOOD.to(device)])


@pytest.mark.parametrize("which", ["image", "target"])
def test_index_out_of_range_gives_nan_loss(device: torch.device, which: str, poisoned_memory: None) -> None:
    valid = (0, 1, 1, 0, 1)
    args = _head_args(device, BAD_INDICES if which == "image" else valid)
    masks = with_targets(args, 2)[5]
    indices = torch.tensor(valid if which == "image" else BAD_INDICES, device=device)
    losses, sums = torch.ops.condinst.dynamic_mask_loss(*args, masks, indices, *OPTIONS, 1e-5)
    grad = torch.rand_like(losses)
    gradients = torch.ops.condinst.dynamic_mask_loss_backward(grad, sums, *args, masks, indices, *OPTIONS)
    leaves = tuple(tensor.requires_grad_() for tensor in args[:2])
    some: tuple[Any, ...] = (*_rows((*leaves, *args[2:]), GOOD), masks, indices[GOOD.to(device)])
    expected = reference_loss(*some, reduction="none")
    _assert_as_reference(leaves, (losses, *gradients), expected, grad[GOOD.to(device)])


def test_nothing_is_added_where_all_indices_are_out_of_range(device: torch.device, poisoned_memory: None) -> None:
    args = _head_args(device, (FAR, -1, 2, -FAR, 3))
    grad = torch.ones(5, 12, 18, device=device)
    grad_features, grad_params = torch.ops.condinst.dynamic_mask_head_backward(grad, *args, *OPTIONS)
    assert torch.equal(grad_features, torch.zeros_like(grad_features))
    assert grad_params.isnan().all()


LARGE: dict[str, tuple[int, tuple[int, int], int, dict[str, Any]]] = {
    "wider than a tile": (2, (5, 530), 2, {}),
    "wider than a tile, factor 4": (2, (5, 333), 2, {"upsample_factor": 4}),
    "more tiles than blocks": (2, (500, 521), 1, {"num_layers": 2, "channels": 2, "upsample_factor": 1}),
    "more images than instances": (3, (4, 5), 7, {}),
    "groups that hold several images": (300, (2, 3), 40, {}),
}
"""Instances, size of the map, images, options."""


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("op", ["dynamic_mask_head", "dynamic_mask_loss"])
def test_cutting_up_the_work_changes_nothing(device: torch.device, op: str, name: str, poisoned_memory: None) -> None:
    num_instances, size, num_images, options = LARGE[name]
    args = mask_head_args(torch.float32, device, num_instances, size, options, num_images=num_images)
    if op == "dynamic_mask_loss":
        args = with_targets(args, 3, options.get("upsample_factor", 2))
    spec = next(spec for spec in SPECS if spec.name == op)
    check_sample(spec, "cpp" if device.type == "cpu" else "cuda", Sample(name, args, options))


def test_half_precision_is_rounded_once(device: torch.device) -> None:
    args = mask_head_args(torch.float16, device, 2, (5, 7), {})
    backend = "cpp" if device.type == "cpu" else "cuda"
    wide = ops.dynamic_mask_head(
        *(tensor.float() if tensor.is_floating_point() else tensor for tensor in args), backend=backend
    )
    assert torch.equal(ops.dynamic_mask_head(*args, backend=backend), wide.half())
