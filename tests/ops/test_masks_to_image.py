"""`masks_to_image` beyond what the OpSpec driver does: large sizes, threads, NaN."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from condinst.ops import masks_to_image
from condinst.ops.aligned_bilinear.reference import aligned_bilinear
from condinst.ops.masks_to_image.spec import SPEC, blobs
from tests.ops.backends import backends_of, device_of
from tests.ops.nan_cases import all_cases, multiplying_interpolate, reached_by_nan

each_backend = pytest.mark.parametrize("backend", backends_of("masks_to_image"))


@each_backend
@pytest.mark.parametrize("is_random", [False, True])
@pytest.mark.parametrize("output_size", [(800, 1088), (1203, 1601), (427, 641)])
def test_only_pixels_at_the_threshold_differ(backend: str, is_random: bool, output_size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 200, 272, generator=generator) if is_random else blobs(2, 200, 272)
    fine = aligned_bilinear(logits.sigmoid(), 4)[:, :797, :1085]
    # not in float64, where PyTorch's positions are others
    probabilities = torch.nn.functional.interpolate(fine[:, None], size=output_size, mode="bilinear")[:, 0]
    masks = masks_to_image(
        logits.to(device_of(backend)), network_size=(797, 1085), output_size=output_size, backend=backend
    )
    wrong = masks.cpu() != (probabilities > 0.5)
    assert wrong.sum() <= max(masks.numel() / 1e6, 1)
    assert ((probabilities - 0.5).abs()[wrong] <= 1e-6).all()


@each_backend
@pytest.mark.parametrize("num_threads", [1, 3])
def test_any_number_of_threads(backend: str, num_threads: int) -> None:
    logits = torch.randn(2, 50, 70, generator=torch.Generator().manual_seed(2)).to(device_of(backend))
    sizes: dict[str, Any] = {"network_size": (200, 280), "output_size": (333, 271)}
    expected = masks_to_image(logits, backend=backend, **sizes)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        assert torch.equal(masks_to_image(logits, backend=backend, **sizes), expected)
    finally:
        torch.set_num_threads(before)


@each_backend
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_a_pixel_with_a_share_of_nan_is_not_set(backend: str, stride: int, threshold: float) -> None:
    """All other pixels are, as all other cells are above the threshold."""
    for case in all_cases(stride):
        logits = case.logits(5.0).to(device_of(backend))
        masks = masks_to_image(logits, **case.options, threshold=threshold, backend=backend)
        assert torch.equal(masks.cpu(), ~reached_by_nan(case)), case


@each_backend
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_infinite_logits_are_probabilities_of_0_and_1(backend: str, stride: int) -> None:
    for case in all_cases(stride):
        infinite = torch.where(case.nan, torch.inf, -torch.inf).to(device_of(backend))
        # below every weight above 0; kernels may give 1e-38 for the sigmoid of -inf
        masks = masks_to_image(infinite, **case.options, threshold=1e-20, backend=backend)
        assert torch.equal(masks.cpu(), reached_by_nan(case)), case
        masks = masks_to_image(-infinite, **case.options, threshold=0.3, backend=backend)
        finite = masks_to_image(-infinite.clamp(-90, 90), **case.options, threshold=0.3, backend=backend)
        assert torch.equal(masks, finite), case


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_reference_does_not_depend_on_how_pytorch_treats_nan(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch copies on the CPU where sizes are equal, and multiplies by 0 on CUDA, where 0 x NaN is NaN."""
    cases = all_cases(stride)
    generator = torch.Generator().manual_seed(3)
    logits = [torch.randn(case.nan.shape, generator=generator).masked_fill(case.nan, torch.nan) for case in cases]
    expected = [
        masks_to_image(of_case, **case.options, backend="reference")
        for case, of_case in zip(cases, logits, strict=True)
    ]
    monkeypatch.setattr(torch.nn.functional, "interpolate", multiplying_interpolate)
    one = torch.tensor([[[[0.0, torch.nan]]]])
    assert torch.nn.functional.interpolate(one, size=(1, 2), mode="bilinear").isnan().all()
    for case, of_case, masks in zip(cases, logits, expected, strict=True):
        assert torch.equal(masks_to_image(of_case, **case.options, backend="reference"), masks), case


def test_the_compiled_reference_treats_nan_alike() -> None:
    sample = next(sample for sample in SPEC.samples(torch.float32, torch.device("cpu")) if sample.name == "not finite")
    compiled = torch.compile(masks_to_image, fullgraph=True, backend="aot_eager")
    actual = compiled(*sample.args, **sample.kwargs, backend="reference")
    assert torch.equal(actual, masks_to_image(*sample.args, **sample.kwargs, backend="reference"))


def test_defensive_checks() -> None:
    logits = torch.zeros(1, 3, 3)
    for arguments in ((0, 3, 3, 3, 3), (1, 4, 3, 3, 3), (1, 3, 3, 0, 3), (1, 3, 3, 1 << 16, 1 << 16)):
        with pytest.raises(RuntimeError, match=r"expected (at least 1|1 \.\.|sides of 1 \.\.)"):
            torch.ops.condinst.masks_to_image(logits, *arguments, 0.5)
