"""Resizing, normalising and padding (numerics 1.1)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from condinst.data.resize import network_size, resize_image
from condinst.data.rles import encode_masks
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
    joined = join_targets([resized, make_target(64, 8, [])], (64, 128), TINY, torch.device("cpu"))
    assert joined.image_indices.tolist() == [0, 0] and joined.semantic_masks is None and joined.areas is None
    padded = torch.zeros(2, 64, 128, dtype=torch.bool)
    padded[:, :40, :120] = resized["masks"]
    assert torch.equal(joined.masks, padded[:, 2::4, 2::4])  # numerics 2.5
    assert joined.centers.tolist() == [[(12 + 41) / 2, (4 + 23) / 2], [119 / 2, 39 / 2]]


def test_run_lengths_give_the_targets_of_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    config = TINY.replace(semantic_loss=True)
    targets = []
    for height, width, count in ((40, 90, 3), (64, 30, 0), (33, 65, 5)):
        target = make_target(height, width, [(0, 0, 9, 9)] * count)
        target["masks"] = torch.rand(count, height, width, generator=generator) < 0.3
        targets.append(target)
    targets[2]["masks"][1] = False  # an empty one
    encoded = [{"boxes": t["boxes"], "labels": t["labels"], "rles": encode_masks(t["masks"])} for t in targets]
    of_pixels, of_runs = (join_targets(each, (64, 96), config, torch.device("cpu")) for each in (targets, encoded))
    for name, value in vars(of_pixels).items():
        torch.testing.assert_close(getattr(of_runs, name), value, rtol=0, atol=0, equal_nan=True, msg=name)
