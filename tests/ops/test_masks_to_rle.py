"""`masks_to_rle`: the bytes pycocotools writes for the reference's masks. The OpSpec driver compares tensors only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from condinst import _host
from condinst.backends import backend_table
from condinst.ops import masks_to_image, masks_to_rle
from condinst.reference.masks_to_rle import EncodedMasks
from condinst.testing import BadInput, Sample
from condinst.testing.masks_to_image import blobs
from condinst.testing.masks_to_rle import SPEC

BACKENDS = [row.backend for row in backend_table() if row.op == "masks_to_rle" and row.status == "available"]
FAST = [backend for backend in BACKENDS if backend != "reference"]
DEVICE = {backend: "cuda" if backend in ("cuda", "triton") else "cpu" for backend in BACKENDS}
CPU = torch.device("cpu")


def check_equal(found: EncodedMasks, expected: EncodedMasks) -> None:
    assert found.rles == expected.rles
    assert found.areas.dtype == torch.int64
    assert torch.equal(found.areas, expected.areas)
    assert found.boxes.dtype == torch.float32
    assert torch.equal(found.boxes, expected.boxes)


def check(backend: str, logits: Tensor, **sizes: Any) -> None:
    found = masks_to_rle(logits.to(DEVICE[backend]), backend=backend, **sizes)
    check_equal(found, masks_to_rle(logits, backend="reference", **sizes))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
@pytest.mark.parametrize("sample", range(len(SPEC.samples(torch.float32, CPU))))
def test_bytes_of_pycocotools(backend: str, dtype: torch.dtype, sample: int) -> None:
    if DEVICE[backend] == "cuda" and dtype == torch.float64:
        pytest.skip("the CUDA kernels have no float64")
    case: Sample = SPEC.samples(dtype, CPU)[sample]
    check(backend, *case.args, **case.kwargs)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("is_random", [False, True])
@pytest.mark.parametrize("output_size", [(800, 1088), (1203, 1601), (427, 641)])
def test_encodes_masks_to_image(backend: str, is_random: bool, output_size: tuple[int, int]) -> None:
    """What test_masks_to_image.py allows holds here, too: both give the same masks but for pixels at the threshold."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 200, 272, generator=generator) if is_random else blobs(2, 200, 272)
    logits = logits.to(DEVICE[backend])
    found = masks_to_rle(logits, network_size=(797, 1085), output_size=output_size, backend=backend)
    masks = masks_to_image(logits, network_size=(797, 1085), output_size=output_size, backend=backend).cpu()
    decoded = torch.from_numpy(np.asarray(coco_mask.decode(found.rles))).permute(2, 0, 1).bool()
    assert (decoded != masks).sum() <= max(masks.numel() / 1e6, 1)
    assert found.areas.tolist() == decoded.flatten(1).sum(dim=1).tolist()


@pytest.mark.parametrize("backend", FAST)
def test_large_image(backend: str) -> None:
    check(backend, blobs(2, 100, 136, seed=3), network_size=(400, 544), output_size=(4000, 6000))


@pytest.mark.parametrize("backend", FAST)
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


@pytest.mark.parametrize("density", [0.0, 0.001, 0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 9), (300, 700)])
def test_host_strings(density: float, size: tuple[int, int]) -> None:
    """Any masks, not only those that logits give."""
    random = np.random.default_rng(0)
    masks = (random.random((3, *size)) < density).astype(np.uint8)
    columns = masks.transpose(0, 2, 1).reshape(3, -1)
    changes = [np.flatnonzero(np.diff(column, prepend=0) != 0).astype(np.int32) for column in columns]
    offsets = np.cumsum([0, *map(len, changes)])
    counts, areas, boxes = _host.encode_runs(np.concatenate(changes), offsets, *size, 2)
    expected = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
    assert counts == [rle["counts"] for rle in expected]
    assert areas.tolist() == coco_mask.area(expected).tolist()
    corners = coco_mask.toBbox(expected)
    corners[:, 2:] += corners[:, :2]
    assert boxes.tolist() == (corners * (areas > 0)[:, None]).tolist()


def test_host_refuses_offsets() -> None:
    positions = np.zeros(3, dtype=np.int32)
    for offsets in ([], [0, 2], [1, 3], [0, 4, 3]):
        with pytest.raises(ValueError, match="offsets: expected"):
            _host.encode_runs(positions, np.array(offsets, dtype=np.int64), 2, 2, 1)
