"""The study of the mask loss: forward and backward of a training step on two images, by number of instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from condinst import ops
from condinst.backends import BACKENDS
from condinst.benchmarking.machine import available_backends
from condinst.benchmarking.mask_head import CHUNKED, COMPILED_GROUPED, GROUPED, SIZE, HeadCase
from condinst.benchmarking.study import Limits, Progress, Setting, Study
from condinst.benchmarking.timing import Call
from condinst.ops.dynamic_mask_head.spec import mask_head_args
from condinst.ops.dynamic_mask_loss.reference import dynamic_mask_loss as reference
from condinst.ops.dynamic_mask_loss.spec import SPEC, with_targets
from condinst.testing import check_tensor
from studies.baselines import chunked_matmul_loss, grouped_convolution_loss

INSTANCES = (128, 1000)
NUM_IMAGES, NUM_TARGETS = 2, 20
NUM_AT_A_TIME = 64
LARGEST_GRADIENT_ERROR = 1e-3
"""Of the Euclidean norm; see `check_results`."""


def sample_name(num_instances: int, size: tuple[int, int] = SIZE) -> str:
    """What a number of instances is called in rows and by ``--filter``."""
    return f"{num_instances} x {size[0]}x{size[1]}"


def loss_args(num_instances: int, size: tuple[int, int], device: torch.device) -> tuple[Tensor, ...]:
    """Random arguments of the loss in float32: two images with ten objects each."""
    args = mask_head_args(torch.float32, device, num_instances, size, {}, num_images=NUM_IMAGES)
    return with_targets(args, NUM_TARGETS)


def loss_call(num_instances: int, size: tuple[int, int], device: torch.device, variant: str) -> Call:
    """The call of one variant: the mean loss, then its gradients for features and parameters."""
    features, params, *rest = loss_args(num_instances, size, device)
    leaves = (features.requires_grad_(), params.requires_grad_())
    losses: dict[str, Callable[..., Tensor]] = {
        GROUPED: grouped_convolution_loss,
        CHUNKED: chunked_matmul_loss,
        **{backend: partial(ops.dynamic_mask_loss, backend=backend) for backend in BACKENDS},
    }
    if variant == COMPILED_GROUPED:
        losses[variant] = torch.compile(grouped_convolution_loss, dynamic=False)

    def call() -> tuple[Tensor, ...]:
        loss = losses[variant](*leaves, *rest)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    return call


def exact_results(args: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and gradients in float64, a few instances at a time so that they fit into memory."""
    features, params, locations, images, sizes, masks, targets = args
    wide = features.detach().double().requires_grad_()
    loss, grad_features, grad_params = torch.zeros_like(wide[0, 0, 0, 0]), torch.zeros_like(wide), []
    for start in range(0, params.shape[0], NUM_AT_A_TIME):
        some = slice(start, start + NUM_AT_A_TIME)
        leaf = params[some].detach().double().requires_grad_()
        rest = (locations[some], images[some], sizes[some], masks, targets[some])
        part = reference(wide, leaf, *rest, reduction="sum") / params.shape[0]
        of_features, of_params = torch.autograd.grad(part, (wide, leaf))
        loss = loss + part.detach()
        grad_features += of_features
        grad_params.append(of_params)
    return loss.detach(), grad_features, torch.cat(grad_params)


def check_results(exact: tuple[Tensor, Tensor, Tensor], variant: str, results: object) -> None:
    """Raise AssertionError unless loss and gradients agree with those in float64.

    Gradients are compared as wholes: of the millions of hidden activations some are 0 up to rounding, and their cells
    get a gradient in one of the two and none in the other. The tests compare each element, on small maps.
    """
    assert isinstance(results, tuple)
    loss, *grads = results
    check_tensor(SPEC.tolerance(torch.float32, gradient=False), f"{variant}, loss", loss, exact[0])
    for name, actual, expected in zip(("mask_features", "params"), grads, exact[1:], strict=True):
        assert actual.shape == expected.shape, f"{variant}, gradient of {name}: got shape {list(actual.shape)}"
        error = ((actual.double() - expected).norm() / expected.norm()).item()
        assert error <= LARGEST_GRADIENT_ERROR, (
            f"{variant}, gradient of {name}: relative error {error:.2g}, expected at most {LARGEST_GRADIENT_ERROR}"
        )


def measure_mask_loss(
    device: torch.device,
    *,
    instances: Sequence[int] = INSTANCES,
    size: tuple[int, int] = SIZE,
    rounds: int = 9,
    compiled: bool = True,
    limits: Limits | None = None,
    progress: Progress = lambda _: None,
) -> Study:
    """Time and memory of a training step over numbers of instances.

    The floor counts the multiply-adds of the head three times: forward, for the gradient of its inputs, and for that of
    its parameters.

    Args:
        device: where to compute.
        instances: numbers of instances over both images.
        size: height and width of the mask features.
        rounds: timings of each variant.
        compiled: measure torch.compile of the grouped convolution at the smallest number of instances.
        limits: what is left out; by default calls of more than 10 s or 8 GiB.
        progress: called with what is done next.

    Raises:
        ValueError: a variant gives wrong results.
    """
    study = Study(
        "dynamic_mask_loss",
        "training",
        GROUPED,
        device,
        rounds=rounds,
        limits=limits or Limits(seconds_per_call=10.0, seconds_per_setting=60.0),
        progress=progress,
    )
    for count in sorted(instances):
        variants = [*available_backends("dynamic_mask_loss", device), GROUPED, CHUNKED]
        if compiled and count == min(instances):
            variants.append(COMPILED_GROUPED)
        sample = sample_name(count, size)
        multiply_adds = 3 * HeadCase(count, size).multiply_adds
        setting = Setting("training", sample, count, multiply_adds, None, measure_resident=True)
        progress(f"training: {sample}: exact results")
        exact = exact_results(loss_args(count, size, device))
        study.measure(setting, variants, partial(loss_call, count, size, device), partial(check_results, exact))
    return study
