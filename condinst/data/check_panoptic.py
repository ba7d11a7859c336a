"""What a panoptic data set holds, and what in it looks wrong."""

from __future__ import annotations

import dataclasses
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pycocotools import mask as coco_mask

from condinst.data.check import (
    NO_IMAGES,
    NO_SEGMENTS,
    NO_THING_CATEGORIES,
    OTHER_SEGMENTS,
    UNREADABLE,
    UNREADABLE_SEGMENTS,
    Finding,
    Findings,
    extreme_sizes,
    image_problem,
)
from condinst.data.panoptic import CocoPanoptic
from condinst.data.segment_runs import SegmentRuns
from condinst.messages import shorten
from condinst.progress import track


@dataclasses.dataclass
class PanopticReport:
    """Counts and findings of a panoptic data set.

    Args:
        name: its annotation file.
        num_images: images in it.
        num_things: segments of things that are no crowd regions.
        num_stuff: segments of stuff.
        num_crowds: crowd regions.
        most_things: of one image.
        void_share: pixels of no segment, out of all pixels of the segment files that could be read.
        categories: `id`, `name`, `isthing`, `segments`, their number, crowd regions among them, and `share`, that of
            their pixels, of each category, things first.
        image_sizes: `smallest` and `largest`, (height, width), by area.
        findings: what looks wrong, the worst first.
    """

    name: str
    num_images: int
    num_things: int
    num_stuff: int
    num_crowds: int
    most_things: int
    void_share: float
    categories: list[dict[str, Any]]
    image_sizes: dict[str, tuple[int, int]]
    findings: list[Finding]

    @property
    def breaks_training(self) -> bool:
        """Whether training stops on something found, or leaves out whole images."""
        return any(finding.breaks_training for finding in self.findings)


@dataclasses.dataclass
class _Checked:
    """One image: the pixels of each category, None for void, and the findings (kind, example)."""

    pixels: Counter[int | str | None]
    found: list[tuple[str, str]]


def check_panoptic(data: CocoPanoptic, *, progress: bool = False) -> PanopticReport:
    """Reads all images and segment files and looks for what would hurt training.

    Args:
        data: what is checked. Unknown categories and entries without their fields were refused when it was opened.
        progress: show a progress bar.
    """
    findings = Findings()
    pixels: Counter[int | str | None] = Counter()
    with ThreadPoolExecutor() as pool:  # decoding images leaves Python's lock alone
        checked = pool.map(lambda index: _check_image(data, index), range(len(data)))
        for one in track(checked, "Reading images", len(data), shown=progress):
            pixels += one.pixels
            for kind, example in one.found:
                findings.note(kind, example)

    segments: Counter[int | str] = Counter()
    things_of_image = []
    for index in range(len(data)):
        infos = data.segments_info(index)
        segments.update(info["category_id"] for info in infos)
        things_of_image.append(sum(map(data.is_object, infos)))
    num_stuff = sum(segments[number] for number in data.classes.stuff_category_ids)
    categories = [
        {
            **category,
            "isthing": bool(category["isthing"]),
            "segments": segments[category["id"]],
            "share": pixels[category["id"]] / max(1, pixels.total()),
        }
        for category in data.classes.to_categories()
    ]
    for category in categories:
        if not category["segments"]:
            findings.note("categories without segments", f"{category['id']} ({category['name']})")
    for kind, is_so in (
        (NO_IMAGES, not len(data)),
        (NO_SEGMENTS, not data.num_annotations),
        (NO_THING_CATEGORIES, not data.classes.num_classes),
        ("no things", not sum(things_of_image)),
        ("no stuff", not num_stuff),
    ):
        if is_so:
            findings.note(kind, str(data.annotations))
    return PanopticReport(
        name=str(data.annotations),
        num_images=len(data),
        num_things=sum(things_of_image),
        num_stuff=num_stuff,
        num_crowds=data.num_annotations - sum(things_of_image) - num_stuff,
        most_things=max(things_of_image, default=0),
        void_share=pixels[None] / max(1, pixels.total()),
        categories=categories,
        image_sizes=extreme_sizes(data),
        findings=findings.worst_first(),
    )


def _check_image(data: CocoPanoptic, index: int) -> _Checked:
    found = []
    problem = image_problem(data, index)
    if problem is not None:
        found.append((UNREADABLE, problem))
    try:
        runs = data.segment_runs(index)
    except (OSError, ValueError) as error:
        return _Checked(Counter(), [*found, (UNREADABLE_SEGMENTS, str(error))])
    try:
        data.check_ids(index, runs)
    except ValueError as error:
        found.append((OTHER_SEGMENTS, str(error)))
    infos = data.segments_info(index)
    where = f"image {data.image_ids[index]}"
    areas = dict(zip(runs.ids, runs.areas, strict=True))
    category_of = {info["id"]: info["category_id"] for info in infos}
    pixels: Counter[int | str | None] = Counter()
    for number, area in areas.items():
        pixels[category_of.get(number)] += area
    if pixels[None] == pixels.total():
        found.append(("images that are all void", where))
    for info in infos:
        if info["id"] in areas:
            found += _check_segment(info, areas[info["id"]], runs, f"segment {info['id']} of {where}")
    return _Checked(pixels, found)


def _check_segment(info: dict[str, Any], area: int, runs: SegmentRuns, where: str) -> list[tuple[str, str]]:
    """Findings where the JSON tells other things of a segment than its pixels do; area and box may be left out."""
    found = []
    if info.get("area", area) != area:
        found.append(("areas unlike the pixels", f"{where}: {shorten(info['area'])}, pixels {area}"))
    if "bbox" in info:
        box = coco_mask.toBbox(runs.rle(info["id"])).astype(int).tolist()
        if info["bbox"] != box:
            found.append(("boxes unlike the pixels", f"{where}: {shorten(info['bbox'])}, pixels {box}"))
    return found
