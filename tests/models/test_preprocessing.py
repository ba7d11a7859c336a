"""Resizing, normalising and padding (SPEC 1.1)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from condinst.data.resize import network_size, resize_image
from condinst.models.preprocessing import join_targets, make_batch, resize_target
from tests.models.tiny import TINY, make_image, make_target


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((500, 500), (800, 800)),
        ((427, 640), (800, 1199)),
        ((300, 1000), (400, 1333)),
        ((1000, 300), (1333, 400)),
        ((1, 5000), (1, 1333)),
        ((1, 1), (800, 800)),
    ],
)
def test_network_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert network_size(*size, 800, 1333) == expected


@pytest.mark.parametrize("size", [(40, 60), (13, 17), (33, 21), (1, 90)])
def test_resize_is_pils(size: tuple[int, int]) -> None:
    image = make_image(33, 45)
    pil = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    assert np.array_equal(resize_image(image, size).permute(1, 2, 0).numpy(), np.asarray(pil))


def test_float_images_resize_as_their_bytes() -> None:
    image = make_image(33, 45)
    assert torch.equal(resize_image(image / 255, (50, 60)), resize_image(image, (50, 60)))


def test_batch_is_normalised_before_it_is_padded() -> None:
    config = TINY.replace(pixel_order="bgr", pixel_mean=(1.0, 2.0, 3.0), pixel_std=(1.0, 2.0, 4.0))
    mean, std = torch.tensor(config.pixel_mean)[:, None, None], torch.tensor(config.pixel_std)[:, None, None]
    images = [make_image(20, 40), make_image(33, 10) / 255]
    batch = make_batch(images, config, mean, std)
    assert batch.shape == (2, 3, 64, 64)
    red, green, blue = images[0].float()
    torch.testing.assert_close(batch[0, :, :20, :40], torch.stack([blue - 1, (green - 2) / 2, (red - 3) / 4]))
    assert not batch[0, :, 20:].any() and not batch[0, :, :, 40:].any()
    torch.testing.assert_close(batch[1, 0, :33, :10], images[1][2] * 255 - 1)


def test_targets_follow_their_image() -> None:
    target = make_target(20, 40, [(4, 2, 14, 12), (0, 0, 40, 20)])
    resized = resize_target(target, (20, 40), (40, 120))
    assert resized["boxes"][0].tolist() == [12.0, 4.0, 42.0, 24.0]
    assert resized["masks"].shape == (2, 40, 120)
    assert resized["masks"][0].sum() == 20 * 30
    joined = join_targets([resized, make_target(64, 8, [])], (64, 128), torch.device("cpu"))
    assert joined.masks.shape == (2, 64, 128) and joined.image_indices.tolist() == [0, 0]
    assert torch.equal(joined.masks[:, :40, :120], resized["masks"].bool())
