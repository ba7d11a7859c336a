"""`dynamic_mask_head` against AdelaiDet's formulation: one grouped convolution over gathered features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from condinst import ops
from condinst.benchmarking.mask_head_baselines import grouped_convolution
from condinst.ops.common.mask_network import num_mask_head_params


def make_inputs(
    num_instances: int, channels: int = 8, num_layers: int = 3, extra: int = 2, features: int = 8
) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(num_instances)
    num_params = num_mask_head_params(features + extra, channels, num_layers)
    return (
        torch.randn(2, features, 5, 7, generator=generator, dtype=torch.float64),
        torch.randn(num_instances, num_params, generator=generator, dtype=torch.float64),
        torch.rand(num_instances, 2, generator=generator, dtype=torch.float64) * 50,
        torch.randint(2, (num_instances,), generator=generator),
        torch.tensor([64.0, 128.0], dtype=torch.float64)[torch.randint(2, (num_instances,), generator=generator)],
    )


@pytest.mark.parametrize("num_instances", [1, 2, 13])
def test_grouped_convolution(num_instances: int) -> None:
    inputs = make_inputs(num_instances)
    torch.testing.assert_close(ops.dynamic_mask_head(*inputs), grouped_convolution(*inputs))


@pytest.mark.parametrize("num_layers", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 2, 16])
@pytest.mark.parametrize("coordinates", ["relative", "absolute", "none"])
@pytest.mark.parametrize("use_features", [True, False])
def test_one_instance_by_hand(num_layers: int, channels: int, coordinates: str, use_features: bool) -> None:
    extra, used = 0 if coordinates == "none" else 2, 3 if use_features else 0
    if extra + used == 0:
        pytest.skip("a network without input is refused")
    _, params, points, images, sizes = make_inputs(1, channels, num_layers, extra, features=used)
    features = make_inputs(1, features=3)[0]
    x = features[int(images), :used].flatten(1)  # [3 or 0, H*W]
    if extra:
        pixels = torch.tensor([[8 * j + 4, 8 * i + 4] for i in range(5) for j in range(7)])
        x = torch.cat([((points[0] - pixels if coordinates == "relative" else pixels) / sizes[0]).T, x])
    widths = [used + extra] + [channels] * (num_layers - 1) + [1]
    weights, rest = [], params[0]
    for layer in range(num_layers):
        size = widths[layer] * widths[layer + 1]
        weights.append(rest[:size].reshape(widths[layer + 1], widths[layer]))
        rest = rest[size:]
    for layer in range(num_layers):
        x = weights[layer] @ x + rest[: widths[layer + 1], None]
        rest = rest[widths[layer + 1] :]
        x = x.relu() if layer < num_layers - 1 else x
    ours = ops.dynamic_mask_head(
        features,
        params,
        points,
        images,
        sizes,
        num_layers=num_layers,
        channels=channels,
        coordinates=coordinates,
        use_features=use_features,
        upsample_factor=1,
    )
    torch.testing.assert_close(ours, x.reshape(1, 5, 7))


def test_no_instances() -> None:
    features, params, *rest = make_inputs(0)
    logits = ops.dynamic_mask_head(features.requires_grad_(), params, *rest)
    assert logits.shape == (0, 10, 14)
    logits.sum().backward()
    assert features.grad is not None and not features.grad.any()
