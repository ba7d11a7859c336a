"""The operators on drawn calls: valid ones equal the reference, others end in a documented exception."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.nn import functional as F

from condinst import ops
from condinst.ops.aligned_bilinear.reference import aligned_bilinear
from condinst.testing import OpSpec, Sample, check_sample
from tests.ops.documented import check_documented

from .calls import _BUILDERS, SPEC_OF, valid_calls
from .conftest import Fuzz
from .hostile import hostile_calls, hostile_native_calls

each_spec = pytest.mark.parametrize("spec", SPEC_OF.values(), ids=SPEC_OF)


def test_every_operator_has_calls() -> None:
    assert _BUILDERS.keys() == SPEC_OF.keys()


def _check_masks(sample: Sample) -> None:
    """Pixels equal the reference's, but for those next to the threshold, which rounding decides."""
    (logits,), options = sample.args, sample.kwargs
    actual = ops.masks_to_image(logits, backend="cpp", **options)
    wrong = actual != ops.masks_to_image(logits, backend="reference", **options)
    if wrong.any():
        probabilities = _probabilities(logits, **options)
        assert ((probabilities - options["threshold"]).abs()[wrong] <= 1e-6).all(), sample.name


def _probabilities(
    logits: Tensor, *, mask_stride: int, network_size: tuple[int, int], output_size: tuple[int, int], threshold: float
) -> Tensor:
    """What is held against the threshold; 9 where a NaN is near, which no rounding decides."""
    fine = aligned_bilinear(logits.float().sigmoid(), mask_stride)[:, : network_size[0], : network_size[1]]
    return F.interpolate(fine[:, None], size=output_size, mode="bilinear")[:, 0].nan_to_num(9)


def _check_rles(sample: Sample) -> None:
    """Run lengths, areas and boxes are those of the pixels."""
    (logits,), options = sample.args, sample.kwargs
    masks = ops.masks_to_image(logits, backend="cpp", **options)
    rles, areas, boxes = ops.masks_to_rle(logits, backend="cpp", **options)
    assert areas.tolist() == masks.flatten(1).sum(1).tolist(), sample.name
    for mask, rle, box in zip(masks, rles, boxes, strict=True):
        assert rle == coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8))), sample.name
        x, y, width, height = coco_mask.toBbox(rle).tolist()
        assert box.tolist() == ([x, y, x + width, y + height] if mask.any() else [0, 0, 0, 0]), sample.name


@each_spec
def test_valid_calls_equal_the_reference(spec: OpSpec, fuzz: Fuzz, poisoned_memory: None) -> None:
    checks = {"masks_to_image": _check_masks, "masks_to_rle": _check_rles}
    check = checks.get(spec.name, lambda sample: check_sample(spec, "cpp", sample))
    fuzz(valid_calls(spec.name), check)


@each_spec
def test_other_calls_end_as_documented(spec: OpSpec, fuzz: Fuzz) -> None:
    def check(sample: Sample) -> None:
        check_documented(spec, lambda: spec.op(*sample.args, **sample.kwargs), sample.name)

    fuzz(hostile_calls(spec), check)


@each_spec
def test_other_native_calls_raise_or_return(spec: OpSpec, fuzz: Fuzz) -> None:
    """Direct callers of ``torch.ops.condinst`` get an exception or a result; the sanitizers watch (`make sanitize`)."""

    def check(call: tuple[str, tuple[Any, ...]]) -> None:
        name, args = call
        # PyTorch's own parser of arguments raises most of these, and a fake kernel may miss a dimension
        with suppress(RuntimeError, TypeError, ValueError, MemoryError, OverflowError, IndexError):
            getattr(torch.ops.condinst, name)(*args)

    fuzz(hostile_native_calls(spec), check)
