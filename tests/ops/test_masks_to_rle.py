"""`masks_to_rle`: the bytes pycocotools writes for the reference's masks. The OpSpec driver compares tensors only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from condinst.ops import masks_to_image, masks_to_rle
from condinst.ops.masks_to_image.spec import blobs
from condinst.ops.masks_to_rle.spec import SPEC, check_equal
from condinst.testing import BadInput, Sample
from tests.ops.backends import backends_of, device_of
from tests.ops.nan_cases import all_cases, reached_by_nan

each_backend = pytest.mark.parametrize("backend", backends_of("masks_to_rle"))
each_kernel = pytest.mark.parametrize("backend", backends_of("masks_to_rle", without="reference"))
CPU = torch.device("cpu")


def check(backend: str, logits: Tensor, **sizes: Any) -> None:
    found = masks_to_rle(logits.to(device_of(backend)), backend=backend, **sizes)
    check_equal(found, masks_to_rle(logits, backend="reference", **sizes))


@each_kernel
@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
@pytest.mark.parametrize("sample", range(len(SPEC.samples(torch.float32, CPU))))
def test_bytes_of_pycocotools(backend: str, dtype: torch.dtype, sample: int) -> None:
    if device_of(backend) == "cuda" and dtype == torch.float64:
        pytest.skip("the CUDA kernels have no float64")
    case: Sample = SPEC.samples(dtype, CPU)[sample]
    check(backend, *case.args, **case.kwargs)


@each_kernel
@pytest.mark.parametrize("is_random", [False, True])
@pytest.mark.parametrize("output_size", [(800, 1088), (1203, 1601), (427, 641)])
def test_encodes_masks_to_image(backend: str, is_random: bool, output_size: tuple[int, int]) -> None:
    """What test_masks_to_image.py allows holds here, too: both give the same masks but for pixels at the threshold."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 200, 272, generator=generator) if is_random else blobs(2, 200, 272)
    logits = logits.to(device_of(backend))
    found = masks_to_rle(logits, network_size=(797, 1085), output_size=output_size, backend=backend)
    masks = masks_to_image(logits, network_size=(797, 1085), output_size=output_size, backend=backend).cpu()
    decoded = torch.from_numpy(np.asarray(coco_mask.decode(found.rles))).permute(2, 0, 1).bool()
    assert (decoded != masks).sum() <= max(masks.numel() / 1e6, 1)
    assert found.areas.tolist() == decoded.flatten(1).sum(dim=1).tolist()


@each_kernel
def test_large_image(backend: str) -> None:
    check(backend, blobs(2, 100, 136, seed=3), network_size=(400, 544), output_size=(4000, 6000))


@each_kernel
@pytest.mark.parametrize("num_masks", [1, 2, 9])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_any_number_of_threads_and_bands(backend: str, num_masks: int, num_threads: int) -> None:
    """Few masks are divided into bands, which are joined; half of the columns end in the foreground."""
    logits = torch.randn(9, 20, 70, generator=torch.Generator().manual_seed(2))[:num_masks]
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        check(backend, logits, network_size=(80, 280), output_size=(31, 650))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("case", SPEC.bad_inputs(), ids=lambda case: case.name)
def test_bad_input(case: BadInput) -> None:
    with pytest.raises(case.error, match=case.message):
        masks_to_rle(*case.args, **case.kwargs)


@pytest.mark.parametrize("call", range(len(SPEC.native_calls(CPU))))
def test_opcheck(call: int) -> None:
    name, args = SPEC.native_calls(CPU)[call]
    torch.library.opcheck(getattr(torch.ops.condinst, name).default, args)


@each_kernel
@pytest.mark.parametrize("density", [0.0, 0.001, 0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 9), (300, 700)])
def test_any_masks(backend: str, density: float, size: tuple[int, int]) -> None:
    """Not only those that logits of a model give: with stride 1 and no resize, a logit is a pixel."""
    masks = torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) < density
    logits = torch.where(masks, 9.0, -9.0).to(device_of(backend))
    found = masks_to_rle(logits, mask_stride=1, network_size=size, output_size=size, backend=backend)
    assert found.rles == [coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]
    check_equal(
        found, masks_to_rle(logits.cpu(), mask_stride=1, network_size=size, output_size=size, backend="reference")
    )


@each_backend
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_a_pixel_with_a_share_of_nan_is_not_set(backend: str, stride: int, threshold: float) -> None:
    """All other pixels are, as all other cells are above the threshold."""
    for case in all_cases(stride):
        expected = (~reached_by_nan(case)).numpy().astype(np.uint8)
        logits = case.logits(5.0).to(device_of(backend))
        found = masks_to_rle(logits, **case.options, threshold=threshold, backend=backend)
        assert found.rles == [coco_mask.encode(np.asfortranarray(mask)) for mask in expected], case
