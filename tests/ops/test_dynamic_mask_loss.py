"""`dynamic_mask_loss` beyond what the OpSpec driver does: the operators it replaces, memory, errors of its own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from condinst.ops import dice_loss, dynamic_mask_head, dynamic_mask_loss
from condinst.ops.dynamic_mask_head.spec import NATIVE_OPTIONS, mask_head_args
from condinst.ops.dynamic_mask_loss.spec import with_targets
from tests.ops.backends import cpu_backends_of

CPU = torch.device("cpu")
each_backend = pytest.mark.parametrize("backend", cpu_backends_of("dynamic_mask_loss"))


def args_of(num_instances: int, size: tuple[int, int] = (12, 21)) -> tuple[Tensor, ...]:
    return with_targets(mask_head_args(torch.float32, CPU, num_instances, size, {}), 4)


@each_backend
def test_it_is_the_three_operators_in_one(backend: str) -> None:
    features, params, *rest, masks, indices = args_of(9)
    leaves = features.requires_grad_(), params.requires_grad_()
    args = (*leaves, *rest, masks, indices)
    fused = dynamic_mask_loss(*args, backend=backend)
    logits = dynamic_mask_head(*leaves, *rest, backend=backend)
    apart = dice_loss(logits.sigmoid(), masks[indices], backend="reference")
    torch.testing.assert_close(fused, apart)
    for one, other in zip(torch.autograd.grad(fused, leaves), torch.autograd.grad(apart, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@each_backend
@pytest.mark.parametrize("bias", [-200.0, 200.0])
def test_saturated_masks(bias: float, backend: str) -> None:
    """Logits far beyond where e^x is a float32: masks of 0 or 1, a loss by counting, and gradients of 0."""
    features, params, *rest, masks, indices = args_of(3)
    params = torch.zeros_like(params)
    params[:, -1] = bias
    args = (features, params.requires_grad_(), *rest, masks, indices)
    losses = dynamic_mask_loss(*args, reduction="none", backend=backend)
    ones = masks[indices].flatten(1).sum(1)
    expected = torch.ones(3) if bias < 0 else 1 - 2 * ones / (ones + masks[0].numel())
    torch.testing.assert_close(losses.detach(), expected)
    losses.sum().backward()
    assert params.grad is not None and params.grad.abs().max() < 1e-30


@each_backend
def test_nan_stays_with_its_instance_and_is_seen(backend: str) -> None:
    features, params, *rest = args_of(3)
    params[1, 0] = torch.nan
    losses = dynamic_mask_loss(features, params.requires_grad_(), *rest, reduction="none", backend=backend)
    assert losses.isnan().tolist() == [False, True, False]
    losses.nansum().backward()
    assert params.grad is not None and params.grad[[0, 2]].isfinite().all()


@each_backend
def test_every_target_byte_counts(backend: str) -> None:
    """One target pixel at a time: with masks of 1/2 the overlap is 1/2, wherever the pixel is."""
    height, width = 3, 19
    masks = torch.eye(4 * height * width, dtype=torch.bool).reshape(-1, 2 * height, 2 * width)
    count = len(masks)
    features, params, *rest = mask_head_args(torch.float32, CPU, count, (height, width), {})
    args = (features, params * 0, *rest, masks, torch.arange(count))
    losses = dynamic_mask_loss(*args, reduction="none", backend=backend)
    torch.testing.assert_close(losses, torch.full((count,), 1 - 2 * 0.5 / (count / 4 + 1)))


def _peak_bytes(call: Callable[[], object]) -> int:
    """Memory that PyTorch's allocator holds for a call at its peak."""
    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    kineto = profiler.profiler
    assert kineto is not None and kineto.kineto_results is not None
    changes = [event for event in kineto.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())))


def test_memory_grows_by_the_parameters_alone() -> None:
    """1,000 instances take what 128 take, the most that are worked on at a time, and what each of them must have."""

    def peak(num_instances: int) -> int:
        features, params, *rest = args_of(num_instances, (40, 64))
        leaves = features.requires_grad_(), params.requires_grad_()
        return _peak_bytes(lambda: torch.autograd.grad(dynamic_mask_loss(*leaves, *rest, backend="cpp").sum(), leaves))

    per_instance = 169 * 4 + 200  # the gradient of its parameters, and a few numbers
    assert peak(1000) - peak(128) <= (1000 - 128) * per_instance
    assert peak(1000) < 1000 * 80 * 128 * 4 / 20, "a twentieth of one map of masks"


@pytest.mark.inductor
def test_compiles_with_inductor() -> None:
    features, params, *rest = args_of(3)

    def loss(features: Tensor, params: Tensor) -> Tensor:
        return dynamic_mask_loss(features * 2, params, *rest, backend="cpp")

    torch.testing.assert_close(torch.compile(loss, fullgraph=True)(features, params), loss(features, params))


def test_second_derivative_is_refused_by_the_native_backend() -> None:
    features, params, *rest = args_of(2)
    loss = dynamic_mask_loss(features, params.requires_grad_(), *rest, backend="cpp")
    (grad,) = torch.autograd.grad(loss, params, create_graph=True)
    with pytest.raises(NotImplementedError, match="dynamic_mask_loss: .*backend='reference'"):
        grad.sum().backward()


HEAD, MASKS, INDICES = args_of(3)[:5], *args_of(3)[5:]


@pytest.mark.parametrize(
    ("masks", "indices", "message"),
    [
        (MASKS, INDICES * 0 + 4, r"target_indices: expected indices in 0 \.\. 3, got 4"),
        (MASKS, INDICES * 0 - 1, r"target_indices: expected indices in 0 \.\. 3, got -1"),
        (MASKS, INDICES.int(), r"target_indices: expected \[3\] int64"),
        (MASKS, INDICES[1:], r"target_indices: expected \[3\] int64"),
        (MASKS.float(), INDICES, r"target_masks: expected \[G, 24, 42\] bool or uint8"),
        (MASKS[:, 1:], INDICES, r"target_masks: expected \[G, 24, 42\] bool or uint8"),
    ],
)
def test_defensive_checks(masks: Tensor, indices: Tensor, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        torch.ops.condinst.dynamic_mask_loss(*HEAD, masks, indices, *NATIVE_OPTIONS, 1e-5)


def test_defensive_checks_of_the_gradient() -> None:
    backward = torch.ops.condinst.dynamic_mask_loss_backward
    with pytest.raises(RuntimeError, match=r"grad_losses: expected \[K\]"):
        backward(torch.ones(2), torch.ones(3, 2), *HEAD, MASKS, INDICES, *NATIVE_OPTIONS)
    with pytest.raises(RuntimeError, match=r"sums: expected \[K, 2\]"):
        backward(torch.ones(3), torch.ones(3), *HEAD, MASKS, INDICES, *NATIVE_OPTIONS)
