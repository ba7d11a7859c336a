"""`dynamic_mask_head` beyond what the OpSpec driver does: errors of its own, NaN, memory, one instance among others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from condinst.ops import dynamic_mask_head
from condinst.ops.dynamic_mask_head.spec import NATIVE_OPTIONS, mask_head_args
from tests.ops.backends import cpu_backends_of

CPU = torch.device("cpu")
each_backend = pytest.mark.parametrize("backend", cpu_backends_of("dynamic_mask_head"))


def args_of(num_instances: int, size: tuple[int, int] = (12, 21), num_images: int = 2) -> tuple[Tensor, ...]:
    return mask_head_args(torch.float32, CPU, num_instances, size, {}, num_images=num_images)


@each_backend
def test_values_by_hand(backend: str) -> None:
    """One layer that adds the coordinates and the feature; the cells are at 4 and 12."""
    logits = dynamic_mask_head(
        torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]]),
        torch.tensor([[1.0, 2.0, 1.0, 0.5]]),  # x, y, feature, bias
        torch.tensor([[4.0, 20.0]]),
        torch.tensor([0]),
        torch.tensor([8.0]),
        num_layers=1,
        backend=backend,
    )
    cells = torch.tensor([[0 + 4 + 1 + 0.5, -1 + 4 + 2 + 0.5], [0 + 2 + 3 + 0.5, -1 + 2 + 5 + 0.5]])
    middle = (cells[:, :1] + cells[:, 1:]) / 2
    columns = torch.cat([cells[:, :1], cells[:, :1], middle, cells[:, 1:]], dim=1)
    rows = torch.stack([columns[0], columns[0], (columns[0] + columns[1]) / 2, columns[1]])
    torch.testing.assert_close(logits, rows[None])


@each_backend
def test_an_instance_does_not_depend_on_the_others(backend: str) -> None:
    features, *per_instance = args_of(100)
    together = dynamic_mask_head(features, *per_instance, backend=backend)
    alone = dynamic_mask_head(features, *(tensor[17:18] for tensor in per_instance), backend=backend)
    torch.testing.assert_close(together[17:18], alone)


@each_backend
def test_nan_stays_with_its_instance_and_is_seen(backend: str) -> None:
    features, params, *rest = args_of(3)
    params[1, 0] = torch.nan  # a weight of the first layer: ReLU must not make 0 of it
    logits = dynamic_mask_head(features, params, *rest, backend=backend)
    assert logits[1].isnan().all()
    assert logits[0].isfinite().all() and logits[2].isfinite().all()


@each_backend
def test_nan_in_a_feature_is_seen_where_it_is(backend: str) -> None:
    features, params, locations, _, sizes = args_of(2, (12, 40), 1)
    features[0, 3, 5, 7] = torch.nan
    images = torch.zeros(2, dtype=torch.int64)
    logits = dynamic_mask_head(features, params, locations, images, sizes, backend=backend)
    assert logits[:, 11, 15].isnan().all()
    assert logits[:, :9].isfinite().all() and logits[:, :, 18:].isfinite().all()


@each_backend
def test_no_gradient_through_a_relu_at_zero(backend: str) -> None:
    features, params, *rest = args_of(2)
    params = torch.zeros_like(params)
    params[:, -1] = 1  # only the last bias
    leaves = features.requires_grad_(), params.requires_grad_()
    dynamic_mask_head(*leaves, *rest, backend=backend).sum().backward()
    assert features.grad is not None and not features.grad.any()
    assert params.grad is not None and not params.grad[:, :-1].any()
    torch.testing.assert_close(params.grad[:, -1], torch.full((2,), 24.0 * 42.0))


@pytest.mark.inductor
def test_compiles_with_inductor() -> None:
    features, params, *rest = args_of(3)

    def loss(features: Tensor, params: Tensor) -> Tensor:
        return dynamic_mask_head(features * 2, params, *rest, backend="cpp").sigmoid().sum()

    torch.testing.assert_close(torch.compile(loss, fullgraph=True)(features, params), loss(features, params))


def test_second_derivative_is_refused_by_the_native_backend() -> None:
    features, params, *rest = args_of(2)
    logits = dynamic_mask_head(features, params.requires_grad_(), *rest, backend="cpp")
    (grad,) = torch.autograd.grad(logits.sigmoid().sum(), params, create_graph=True)
    with pytest.raises(NotImplementedError, match="dynamic_mask_head: .*backend='reference'"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (8, {"num_layers": 5}, "up to 4 layers, got num_layers 5"),
        (8, {"channels": 17}, "up to 16 channels, got channels 17"),
        (17, {}, "up to 16 channels of features, got mask_features of 17"),
    ],
)
def test_networks_the_kernels_do_not_have(channels: int, options: dict[str, Any], message: str) -> None:
    args = mask_head_args(torch.float32, CPU, 2, (4, 6), options, feature_channels=channels)
    with pytest.raises(ValueError, match=message):
        dynamic_mask_head(*args, **options, backend="cpp")
    expected = dynamic_mask_head(*args, **options, backend="reference")
    assert torch.equal(dynamic_mask_head(*args, **options), expected), "auto takes the reference"


FEATURES, PARAMS, LOCATIONS, IMAGES, SIZES = args_of(3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image_indices": IMAGES * 0 + 2}, r"image_indices: expected indices in 0 \.\. 1, got 2"),
        ({"image_indices": IMAGES * 0 - 1}, r"image_indices: expected indices in 0 \.\. 1, got -1"),
        ({"image_indices": IMAGES.int()}, r"image_indices: expected \[K\] int64"),
        ({"params": PARAMS[:, 1:]}, r"params: expected \[K, 169\]"),
        ({"params": PARAMS.half()}, "mask_features, params: expected one floating dtype"),
        ({"mask_features": FEATURES[0]}, "mask_features: expected 4 dimensions, got 3"),
        ({"locations": LOCATIONS[1:]}, r"locations: expected \[K, 2\]"),
        ({"sizes": SIZES[1:]}, r"sizes_of_interest: expected \[K\]"),
        ({"num_layers": 5}, "num_layers: expected 1 to 4, got 5"),
        ({"channels": 17}, "channels: expected 1 to 16, got 17"),
        ({"feature_stride": 0}, r"feature_stride: expected 1 \.\. \d+, got 0"),
        ({"upsample_factor": 3}, "upsample_factor: expected 1, 2 or 4; got 3"),
        ({"coordinates": "polar"}, "coordinates: expected relative, absolute or none; got 'polar'"),
    ],
)
def test_defensive_checks(changed: dict[str, object], message: str) -> None:
    tensors = {
        "mask_features": FEATURES,
        "params": PARAMS,
        "locations": LOCATIONS,
        "image_indices": IMAGES,
        "sizes": SIZES,
    }
    names = ("feature_stride", "num_layers", "channels", "coordinates", "use_features", "upsample_factor")
    good = {**tensors, **dict(zip(names, NATIVE_OPTIONS, strict=True))}
    with pytest.raises(RuntimeError, match=message):
        torch.ops.condinst.dynamic_mask_head(*{**good, **changed}.values())
