"""`resize_image` beyond what the OpSpec driver does: Pillow's pixels, for a thousand sizes."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from torch import Tensor

from condinst.ops import resize_image
from tests.ops.backends import cpu_backends_of

BEFORE_13 = int(PIL.__version__.partition(".")[0]) < 13

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("resize_image"))


def resized_by_pillow(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The definition: [3, H, W] to [3, *size]."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    resized = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


@each_backend
def test_pillow_on_random_sizes(backend: str) -> None:
    """Ratios of 1/300 to 300 on each axis, and pixels that are noise, flat or at the ends of the range."""
    random = np.random.default_rng(0)
    for case in range(1000):
        height, width, new_height, new_width = np.exp(random.uniform(0, np.log(300), 4)).astype(int).tolist()
        pixels = random.integers(0, 256, (3, height, width), dtype=np.uint8)
        if case % 3 == 1:
            pixels = (pixels > 127).astype(np.uint8) * 255
        elif case % 3 == 2:
            pixels[:] = pixels[:, :1, :1]
        image = torch.from_numpy(pixels)
        size = (new_height, new_width)
        assert torch.equal(resize_image(image, size, backend=backend), resized_by_pillow(image, size)), (
            image.shape,
            size,
        )


@each_backend
@pytest.mark.parametrize(
    ("shape", "size"),
    [((480, 640), (800, 1067)), ((1200, 1600), (800, 1067)), ((427, 640), (889, 1333)), ((1, 20_000), (1, 3))],
)
def test_pillow_on_real_sizes(backend: str, shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = torch.randint(256, (3, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    assert torch.equal(resize_image(image, size, backend=backend), resized_by_pillow(image, size))


@each_backend
def test_the_result_is_new_memory(backend: str) -> None:
    image = torch.zeros(3, 4, 5, dtype=torch.uint8)
    resized = resize_image(image, (4, 5), backend=backend)
    image.fill_(7)
    assert resized.max() == 0


@pytest.mark.parametrize("image", [torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(3, 4, 4)])
def test_defensive_checks(image: Tensor) -> None:
    with pytest.raises(RuntimeError, match=r"image: expected uint8 \[C, H, W\]"):
        torch.ops.condinst.resize_image(image, 5, 5)
