"""`panoptic_merge` against a merge in loops over pixels, with masks and classes from elsewhere, and bit by bit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from condinst import _host
from condinst.ops import PanopticMaps, panoptic_merge
from condinst.ops.aligned_bilinear.reference import aligned_bilinear
from condinst.ops.masks_to_image.reference import masks_to_image as reference_image
from condinst.ops.masks_to_image.spec import blobs
from condinst.ops.panoptic_merge.reference import fixed_sigmoid
from condinst.ops.panoptic_merge.reference import panoptic_merge as reference_merge
from condinst.ops.panoptic_merge.spec import SPEC, inputs, random_sample, regions
from tests.ops.backends import backends_of, device_of
from tests.ops.nan_cases import all_cases, reached_by_nan, upsampling

each_backend = pytest.mark.parametrize("backend", backends_of("panoptic_merge"))
CUDA_ON_HOST = "CONDINST_LIBRARY" in os.environ
ISAS = ["baseline", "avx2", "avx512"]

Masks = NDArray[np.bool_]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """A call, and its masks and classes at image size, which come from elsewhere."""

    args: tuple[Tensor, Tensor, Tensor, Tensor]
    options: dict[str, Any]
    masks: list[Masks]  # of instance k, at the size of its image; [0, 0] for padding
    classes: list[Classes]  # of each image


def merge_by_loops(case: Case) -> tuple[NDArray[np.int32], list[int], list[list[int]]]:
    """Ids, areas of instances and of stuff."""
    _, scores, images, semantics = case.args
    things = case.options["num_thing_channels"]
    num_images, num_stuff = len(case.classes), semantics.shape[1] - things
    canvas = [max(size[side] for size in case.options["output_sizes"]) for side in (0, 1)]
    ids = np.zeros((num_images, *canvas), np.int32)
    areas = [0] * len(case.masks)
    stuff_areas = [[0] * num_stuff for _ in range(num_images)]
    for image in range(num_images):
        members = [k for k in range(len(case.masks)) if images[k] == image and scores[k].numpy() >= np.float32(0.45)]
        for k in sorted(members, key=lambda k: (-float(scores[k]), k)):
            pixels = [(y, x) for y, x in np.argwhere(case.masks[k]).tolist()]
            free = [(y, x) for y, x in pixels if ids[image, y, x] == 0]
            if pixels and 5 * (len(pixels) - len(free)) <= 2 * len(pixels):  # at most 40 %
                for y, x in free:
                    ids[image, y, x] = 1 + k
                areas[k] = len(free)
        regions: dict[int, list[tuple[int, int]]] = {}
        for (y, x), winner in np.ndenumerate(case.classes[image]):
            if ids[image, y, x] == 0 and winner >= things:
                regions.setdefault(int(winner) - things, []).append((y, x))
        for stuff, region in regions.items():
            if len(region) >= case.options["stuff_area_limit"]:
                stuff_areas[image][stuff] = len(region)
                for y, x in region:
                    ids[image, y, x] = 1 + len(case.masks) + stuff
    return ids, areas, stuff_areas


def _scores_and_images(draw: np.random.Generator, count: int, num_images: int) -> tuple[Tensor, Tensor]:
    scores = draw.choice([0.2, np.nextafter(np.float32(0.45), np.float32(0)), 0.45, 0.45, 0.7, 0.9], count)
    return torch.tensor(scores, dtype=torch.float32), torch.tensor(draw.integers(-1, num_images, count))


def planted_case(seed: int) -> Case:
    """Masks and classes as they are, one cell for each pixel: ties, full overlaps, exact shares, empty masks."""
    draw = np.random.default_rng(seed)
    height, width = (int(side) for side in draw.integers(4, 14, 2))
    num_images, num_channels = int(draw.integers(1, 4)), int(draw.integers(1, 6))
    sizes = [(int(draw.integers(1, height + 1)), int(draw.integers(1, width + 1))) for _ in range(num_images)]
    masks: list[Masks] = []
    for _ in range(int(draw.integers(0, 9))):
        kind = draw.integers(0, 4)
        if kind == 0 and masks:  # the same again
            masks.append(masks[-1].copy())
            continue
        mask = np.zeros((height, width), bool)
        if kind < 3:  # rows of 10 pixels or so, so that shares of 4 in 10 come up
            top, left = draw.integers(0, height), draw.integers(0, width)
            mask[top : top + draw.integers(1, 3), left : left + 5] = True
        masks.append(mask)
    scores, images = _scores_and_images(draw, len(masks), num_images)
    classes = draw.integers(0, num_channels, (num_images, height, width))
    values = draw.integers(0, 3, (num_images, num_channels, height, width)).astype(np.float32)  # ties
    options = {
        "network_sizes": sizes,
        "output_sizes": sizes,
        "num_thing_channels": int(draw.integers(0, num_channels + 1)),
        "mask_stride": 1,
        "semantic_stride": 1,
        "stuff_area_limit": int(draw.integers(0, 20)),
    }
    winners = np.argmax(values, 1)  # the first of equal ones
    if seed % 2:
        values += 4 * (np.arange(num_channels)[:, None, None] == classes[:, None])
        winners = classes
    logits = np.where(np.stack(masks), 8.0, -8.0) if masks else np.zeros((0, height, width))
    args = torch.tensor(logits, dtype=torch.float32), scores, images, torch.tensor(values)
    cut = [masks[k][: sizes[i][0], : sizes[i][1]] if i >= 0 else np.zeros((0, 0), bool) for k, i in enumerate(images)]
    return Case(args, options, cut, [winners[i][: sizes[i][0], : sizes[i][1]] for i in range(num_images)])


def resized_case(seed: int) -> Case:
    """Any strides and sizes; drawn again where a pixel is so close to a decision that float64 might differ."""
    draw = np.random.default_rng(seed)
    while True:
        strides = [int(stride) for stride in draw.integers(1, 5, 2)]
        covered = [int(side) for side in draw.integers(4, 18, 2)]
        num_images, num_channels = int(draw.integers(1, 4)), int(draw.integers(1, 6))
        count = int(draw.integers(0, 6))
        networks = [tuple(int(draw.integers(1, side + 1)) for side in covered) for _ in range(num_images)]
        outputs = [tuple(int(side) for side in draw.integers(1, 15, 2)) for _ in range(num_images)]
        cells = [[-(-side // stride) for side in covered] for stride in strides]
        logits = (3 * draw.standard_normal((count, *cells[0])) - draw.integers(0, 4)).astype(np.float32)
        values = draw.standard_normal((num_images, num_channels, *cells[1])).astype(np.float32)
        scores, images = _scores_and_images(draw, count, num_images)

        axes = [
            [
                [upsampling(cells[kind][side], strides[kind], networks[i][side], outputs[i][side]) for side in (0, 1)]
                for i in range(num_images)
            ]
            for kind in (0, 1)
        ]
        exact = 1 / (1 + np.exp(-logits.astype(np.float64)))
        probabilities = [
            axes[0][i][0] @ exact[k] @ axes[0][i][1].T if i >= 0 else np.zeros((0, 0)) for k, i in enumerate(images)
        ]
        semantics = [axes[1][i][0] @ values[i].astype(np.float64) @ axes[1][i][1].T for i in range(num_images)]
        leads = [np.diff(np.sort(maps, 0)[-2:], axis=0).min(initial=1) for maps in semantics]
        margins = [np.abs(mask - 0.5).min(initial=1) for mask in probabilities]
        if min([*leads, *margins]) > 1e-5:
            break
    options = {
        "network_sizes": networks,
        "output_sizes": outputs,
        "num_thing_channels": int(draw.integers(0, num_channels + 1)),
        "mask_stride": strides[0],
        "semantic_stride": strides[1],
        "stuff_area_limit": int(draw.integers(0, 20)),
    }
    args = torch.tensor(logits), scores, images, torch.tensor(values)
    return Case(args, options, [mask > 0.5 for mask in probabilities], [maps.argmax(0) for maps in semantics])


def assert_equal(actual: PanopticMaps, expected: PanopticMaps, what: object = "") -> None:
    for name, one, other in zip(PanopticMaps._fields, actual, expected, strict=True):
        assert one.dtype == other.dtype and torch.equal(one.cpu(), other.cpu()), f"{name} {what}"


def _merge(case: Case, backend: str) -> PanopticMaps:
    return panoptic_merge(*(arg.to(device_of(backend)) for arg in case.args), **case.options, backend=backend)


@each_backend
@pytest.mark.parametrize("make_case", [planted_case, resized_case])
def test_merges_as_loops_over_pixels_do(backend: str, make_case: Callable[[int], Case]) -> None:
    """500 random cases, half of them resized; they come to kept and dropped instances, stuff and void."""
    seen: set[str] = set()
    for seed in range(0, 250, 10 if CUDA_ON_HOST and backend == "cpp" else 1):
        case = make_case(seed)
        ids, areas, stuff_areas = merge_by_loops(case)
        expected = PanopticMaps(torch.tensor(ids), torch.tensor(areas, dtype=torch.int64), torch.tensor(stuff_areas))
        assert_equal(_merge(case, backend), PanopticMaps(*expected[:2], expected[2].long()), f"seed {seed}")
        seen |= {"no instances"} if not areas else {"kept" if area else "dropped" for area in areas}
        seen |= (
            {"no stuff"} if not stuff_areas[0] else {"stuff" if area else "void" for row in stuff_areas for area in row}
        )
        seen |= {"no things"} if case.options["num_thing_channels"] == 0 else set()
    assert seen == {"no instances", "kept", "dropped", "no stuff", "no things", "stuff", "void"}


def _rows(*rows: str) -> Tensor:
    """Logits of masks of one row each, [K, 1, W]."""
    return torch.tensor([[[8.0 if pixel == "#" else -8.0 for pixel in row]] for row in rows])


def _merge_rows(rows: list[str], scores: list[float], backend: str, **options: Any) -> tuple[list[int], list[int]]:
    """Ids and areas of instances, one pixel to the cell, without stuff."""
    size = [(1, len(rows[0]))]
    device = device_of(backend)
    maps = panoptic_merge(
        _rows(*rows).to(device),
        torch.tensor(scores, device=device),
        torch.zeros(len(rows), dtype=torch.int64, device=device),
        torch.zeros(1, 1, *size[0], device=device),
        **{"network_sizes": size, "output_sizes": size, "num_thing_channels": 1, **options},
        mask_stride=1,
        semantic_stride=1,
        backend=backend,
    )
    return maps.ids[0, 0].tolist(), maps.instance_areas.tolist()


@each_backend
def test_the_rules_by_hand(backend: str) -> None:
    # the higher score takes the overlap; 4 of 10 lost is kept, 5 of 10 is not
    assert _merge_rows(["####......", "##########"], [0.9, 0.8], backend) == ([1] * 4 + [2] * 6, [4, 6])
    assert _merge_rows(["#####.....", "##########"], [0.9, 0.8], backend) == ([1] * 5 + [0] * 5, [5, 0])
    # of equal scores the first, whatever the order of areas
    assert _merge_rows(["..####", "###..."], [0.7, 0.7], backend, overlap_threshold=0.5) == ([2, 2, 1, 1, 1, 1], [4, 2])
    assert _merge_rows(["###...", "..####"], [0.7, 0.7], backend, overlap_threshold=0.5) == ([1, 1, 1, 2, 2, 2], [3, 3])
    # what is dropped takes nothing from those after it
    assert _merge_rows(["###...", "####..", "...###"], [0.9, 0.8, 0.7], backend) == ([1, 1, 1, 3, 3, 3], [3, 0, 3])
    # a full overlap, an empty mask
    assert _merge_rows(["##", "##", ".."], [0.8, 0.9, 1.0], backend) == ([2, 2], [0, 2, 0])
    # exactly 0.45 in float32 stays, the number below it does not, nor does NaN
    below = float(np.nextafter(np.float32(0.45), np.float32(0)))
    assert _merge_rows(["#...", ".#..", "..#."], [0.45, below, float("nan")], backend) == ([1, 0, 0, 0], [1, 0, 0])


@each_backend
def test_areas_of_stuff_by_hand(backend: str) -> None:
    """6 pixels of each of 3 stuff classes in two images; an instance on 2 of the last."""
    semantics = torch.zeros(2, 4, 3, 6, device=device_of(backend))
    for row in range(3):
        semantics[:, 1 + row, row] = 1
    semantics[1, 0, 0] = 1  # ties with channel 1, and comes first
    masks = torch.full((1, 3, 6), -8.0, device=device_of(backend))
    masks[0, 2, :2] = 8
    for limit, areas in ((4, [6, 6, 4]), (5, [6, 6, 0]), (7, [0, 0, 0])):
        maps = panoptic_merge(
            masks,
            torch.ones(1, device=device_of(backend)),
            torch.zeros(1, dtype=torch.int64, device=device_of(backend)),
            semantics,
            network_sizes=[(3, 6), (3, 5)],
            output_sizes=[(3, 6), (3, 5)],
            num_thing_channels=1,
            mask_stride=1,
            semantic_stride=1,
            stuff_area_limit=limit,
            backend=backend,
        )
        assert maps.stuff_areas[0].tolist() == areas
        assert maps.ids[0].tolist() == [[2 if areas[0] else 0] * 6, [3 if areas[1] else 0] * 6] + [
            [1, 1] + [4 if areas[2] else 0] * 4
        ]
        assert maps.stuff_areas[1].tolist() == ([0, 5, 5] if limit <= 5 else [0, 0, 0])
        assert (maps.ids[1, :, 5] == 0).all() and (maps.ids[1, 0] == 0).all()


@each_backend
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_a_pixel_with_a_share_of_nan_is_not_in_the_mask(backend: str, stride: int, threshold: float) -> None:
    """All other pixels are. Each mask has an image of its own, and all semantic logits are things."""
    for case in all_cases(stride):
        num_images = len(case.nan)
        numbers = torch.arange(num_images, device=device_of(backend))
        maps = panoptic_merge(
            case.logits(5.0).to(device_of(backend)),
            torch.ones(num_images, device=device_of(backend)),
            numbers,
            torch.zeros(num_images, 1, *case.cells, device=device_of(backend)),
            network_sizes=[case.network] * num_images,
            output_sizes=[case.output] * num_images,
            num_thing_channels=1,
            mask_stride=stride,
            semantic_stride=stride,
            mask_threshold=threshold,
            backend=backend,
        )
        expected = torch.where(reached_by_nan(case), 0, 1 + numbers.cpu()[:, None, None])
        assert torch.equal(maps.ids.cpu(), expected.int()), case


@each_backend
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_a_class_loses_the_pixels_that_have_a_share_of_its_nan(backend: str, stride: int) -> None:
    for case in all_cases(stride):
        best = case.logits(5.0)
        maps = panoptic_merge(
            torch.zeros(0, *case.cells, device=device_of(backend)),
            torch.zeros(0, device=device_of(backend)),
            torch.zeros(0, dtype=torch.int64, device=device_of(backend)),
            torch.stack([best, torch.full_like(best, -5.0)], 1).to(device_of(backend)),
            network_sizes=[case.network] * len(best),
            output_sizes=[case.output] * len(best),
            num_thing_channels=0,
            mask_stride=stride,
            semantic_stride=stride,
            stuff_area_limit=0,
            backend=backend,
        )
        assert torch.equal(maps.ids.cpu(), 1 + reached_by_nan(case).int()), case


@each_backend
def test_a_cell_without_weight_has_no_influence(backend: str) -> None:
    """Neither does it decide between equal logits, nor does an infinite one reach pixels in which its weight is 0."""
    logits = torch.tensor([[0.0, 0.0, 0.0], [-1.0, 0.0, torch.inf]])[None, :, None]  # [1, C, 1, w]
    maps = panoptic_merge(
        torch.zeros(0, 1, 3, device=device_of(backend)),
        torch.zeros(0, device=device_of(backend)),
        torch.zeros(0, dtype=torch.int64, device=device_of(backend)),
        logits.to(device_of(backend)),
        network_sizes=[(2, 6)],
        output_sizes=[(2, 6)],
        num_thing_channels=0,
        mask_stride=2,
        semantic_stride=2,
        stuff_area_limit=0,
        backend=backend,
    )
    # pixel 3 is on the cell in the middle, whose logits are equal
    assert maps.ids[0].tolist() == [[1, 1, 1, 1, 2, 2]] * 2


@pytest.mark.parametrize("backend", backends_of("panoptic_merge", without="reference"))
def test_every_bit_where_rounding_decides(backend: str) -> None:
    for seed in range(30 if CUDA_ON_HOST else 500):
        sample = random_sample(seed)
        args = tuple(arg.to(device_of(backend)) for arg in sample.args)
        expected = reference_merge(*sample.args, **sample.kwargs)
        assert_equal(panoptic_merge(*args, **sample.kwargs, backend=backend), expected, sample.name)


@pytest.mark.skipif(CUDA_ON_HOST, reason="has no instruction sets")
@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_every_bit_on_every_instruction_set(isa: str) -> None:
    """The one of this machine has been tested above."""
    if ISAS.index(isa) >= ISAS.index(_host.cpu_isa()):
        pytest.skip(f"no other than {isa} here")
    code = (
        "import torch\n"
        "from condinst.ops.panoptic_merge.spec import SPEC, random_sample\n"
        "for seed in range(100):\n"
        "    sample = random_sample(seed)\n"
        "    one, other = (SPEC.op(*sample.args, **sample.kwargs, backend=b) for b in ('cpp', 'reference'))\n"
        "    assert all(torch.equal(*both) for both in zip(one, other)), sample.name\n"
        "print('equal')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CONDINST_CPU_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr


def test_the_sigmoid_is_that_of_torch() -> None:
    logits = torch.linspace(-87, 87, 1_000_003)
    actual, exact = fixed_sigmoid(logits), logits.double().sigmoid().float()
    apart = (actual.view(torch.int32) - exact.view(torch.int32)).abs()  # units in the last place: all are positive
    assert apart.max() <= 4
    assert (actual.diff() >= 0).all()
    odd = fixed_sigmoid(torch.tensor([0.0, torch.nan, torch.inf, -torch.inf, 90.0, -90.0]))
    least = fixed_sigmoid(torch.tensor(-87.0)).item()
    torch.testing.assert_close(odd, torch.tensor([0.5, -1e30, 1.0, least, 1.0, least]), rtol=0, atol=0)


@pytest.mark.parametrize("output_size", [(797, 1085), (603, 801), (427, 641)])
def test_the_reference_is_near_pytorchs_own_resampling(output_size: tuple[int, int]) -> None:
    """Masks are those of `masks_to_image`, classes those of interpolated logits, but where a decision is near."""
    network = (797, 1085)
    masks, semantics = blobs(2, 200, 272), regions(1, 9, 200, 272)
    none: dict[str, Any] = {
        "network_sizes": [network],
        "output_sizes": [output_size],
        "backend": "reference",
        "stuff_area_limit": 0,
    }
    images = torch.zeros(2, dtype=torch.int64)
    for k in range(2):  # one by one, so that none takes from the other
        maps = panoptic_merge(masks[k : k + 1], torch.ones(1), images[:1], semantics, num_thing_channels=9, **none)
        options: dict[str, Any] = {"mask_stride": 4, "network_size": network, "output_size": output_size}
        wanted = reference_image(masks[k : k + 1], **options)[0]
        slightly = [reference_image(masks[k : k + 1], **options, threshold=0.5 + d)[0] for d in (-1e-6, 1e-6)]
        wrong = (maps.ids[0] > 0) != wanted
        assert not (wrong & (slightly[0] == slightly[1])).any()
    maps = panoptic_merge(masks[:0], torch.ones(0), images[:0], semantics, num_thing_channels=0, **none)
    fine = aligned_bilinear(semantics[0], 4)[:, : network[0], : network[1]]
    logits = F.interpolate(fine[:, None], size=output_size, mode="bilinear")[:, 0]
    best, second = logits.topk(2, dim=0).values
    wrong = maps.ids[0] - 1 != logits.argmax(0)
    assert wrong.sum() <= wrong.numel() / 1e5
    assert ((best - second)[wrong] <= 1e-5 * logits.abs().amax()).all()


@each_backend
def test_layouts_and_dtypes_change_nothing(backend: str) -> None:
    masks, scores, images, semantics = (
        arg.to(device_of(backend)) for arg in inputs(torch.float32, torch.device("cpu"))
    )
    options: dict[str, Any] = {
        "network_sizes": [(52, 68), (45, 59)],
        "output_sizes": [(52, 68), (73, 101)],
        "num_thing_channels": 2,
    }
    options |= {"stuff_area_limit": 40, "backend": backend}
    expected = panoptic_merge(masks, scores, images, semantics, **options)
    across = masks.transpose(0, 2).contiguous().transpose(0, 2)
    last = semantics.contiguous(memory_format=torch.channels_last)
    assert not across.is_contiguous() and not last.is_contiguous()
    spread = scores.repeat_interleave(2)[::2]
    assert_equal(panoptic_merge(across, spread, images, last, **options), expected)
    # both kinds of logits in different types: half precision is computed in float32
    mixed = panoptic_merge(masks.half(), scores, images, semantics.bfloat16(), **options)
    wide = panoptic_merge(masks.half().float(), scores, images, semantics.bfloat16().float(), **options)
    assert_equal(mixed, wide)


@each_backend
@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_any_number_of_threads(backend: str, num_threads: int, keep_threads: None) -> None:
    args = inputs(torch.float32, torch.device("cpu"), num_instances=30, semantics=(3, 7, 13, 17))
    options: dict[str, Any] = {"network_sizes": [(52, 68)] * 3, "output_sizes": [(150, 200), (31, 50), (133, 90)]}
    torch.set_num_threads(1)
    expected = panoptic_merge(*args, **options, num_thing_channels=2, backend="reference")
    torch.set_num_threads(num_threads)
    given = (arg.to(device_of(backend)) for arg in args)
    assert_equal(panoptic_merge(*given, **options, num_thing_channels=2, backend=backend), expected)


def test_defensive_checks() -> None:
    masks, scores, images, semantics = inputs(torch.float32, torch.device("cpu"))
    sizes = [52, 68, 45, 59]
    rest = (0.45, 0.5, 0.4, 40)

    def refused(message: str, *args: Any) -> None:
        with pytest.raises(RuntimeError, match=message):
            torch.ops.condinst.panoptic_merge(*args, *rest)

    refused("mask_logits: expected", masks[0], scores, images, semantics, sizes, sizes, 2, 4, 4)
    refused("scores: expected", masks, scores[1:], images, semantics, sizes, sizes, 2, 4, 4)
    refused("image_indices: expected", masks, scores, scores, semantics, sizes, sizes, 2, 4, 4)
    refused("semantic_logits: expected", masks, scores, images, semantics[0], sizes, sizes, 2, 4, 4)
    refused("num_thing_channels: expected", masks, scores, images, semantics, sizes, sizes, 6, 4, 4)
    refused("strides: expected", masks, scores, images, semantics, sizes, sizes, 2, 0, 4)
    refused("expected height and width of each image", masks, scores, images, semantics, sizes[2:], sizes, 2, 4, 4)
    refused("network_sizes: expected", masks, scores, images, semantics, [53, 68, 45, 59], sizes, 2, 4, 4)
    refused("output_sizes: expected", masks, scores, images, semantics, sizes, [0, 68, 45, 59], 2, 4, 4)
    # an image that does not exist is passed over
    actual = torch.ops.condinst.panoptic_merge(masks, scores, images + 1, semantics, sizes, sizes, 2, 4, 4, *rest)
    moved = torch.where(images + 1 < 2, images + 1, -1)
    assert_equal(
        PanopticMaps(*actual),
        panoptic_merge(
            masks,
            scores,
            moved,
            semantics,
            network_sizes=[(52, 68), (45, 59)],
            output_sizes=[(52, 68), (45, 59)],
            num_thing_channels=2,
            stuff_area_limit=40,
        ),
    )


def test_the_samples_have_instances_and_stuff() -> None:
    """So that agreement with the reference says something."""
    kept = {}
    for sample in SPEC.samples(torch.float32, torch.device("cpu")):
        maps = reference_merge(*sample.args, **sample.kwargs)
        kept[sample.name] = int((maps.instance_areas > 0).sum()), int((maps.stuff_areas > 0).sum())
    assert kept["several sizes"][0] >= 2 and kept["several sizes"][1] >= 4
    assert kept["many"][0] >= 6 and kept["many"][1] >= 20
    assert sum(instances > 0 for instances, _ in kept.values()) >= 12
