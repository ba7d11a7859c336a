"""What a panoptic data set holds, and what in it looks wrong."""

from __future__ import annotations

import dataclasses
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pycocotools import mask as coco_mask

from condinst.data.check import REFUSED, Note, check_images, extreme_sizes
from condinst.data.findings import Finding, Findings
from condinst.data.panoptic import CocoPanoptic
from condinst.data.segment_runs import SegmentRuns
from condinst.data.usable import refusal, survey_panoptic
from condinst.messages import shorten
from condinst.progress import track

UNREADABLE_SEGMENTS = "segment files missing, unreadable or of another size"
OTHER_SEGMENTS = "segment files with other ids than the JSON"
NO_SEGMENTS = "no segments"
NO_THING_CATEGORIES = "no categories of things"


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
        """Whether `condinst train` refuses the data."""
        return any(finding.breaks_training for finding in self.findings)


@dataclasses.dataclass
class _Checked:
    """The segments of one image: the pixels of each category, None for void, and the findings."""

    pixels: Counter[int | str | None]
    notes: list[Note]


def check_panoptic(data: CocoPanoptic, *, progress: bool = False) -> PanopticReport:
    """Reads all images and segment files and looks for what would hurt training.

    Args:
        data: what is checked.
        progress: show a progress bar.
    """
    findings = Findings(data.findings.worst_first())
    problem = refusal(data, survey_panoptic(data))
    if problem is not None:
        findings.note(REFUSED, problem, "refused")
    check_images(data, findings, progress=progress)
    pixels: Counter[int | str | None] = Counter()
    with ThreadPoolExecutor() as pool:  # decoding PNG files leaves Python's lock alone
        checked = pool.map(lambda index: _check_segments(data, index), range(len(data)))
        for image in track(checked, "Reading segments", len(data), shown=progress):
            pixels += image.pixels
            for note in image.notes:
                findings.note(*note)

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


def _check_segments(data: CocoPanoptic, index: int) -> _Checked:
    notes: list[Note] = []
    try:
        runs = data.segment_runs(index)
    except (OSError, ValueError) as error:
        return _Checked(Counter(), [(UNREADABLE_SEGMENTS, str(error), "left out")])
    try:
        data.check_ids(index, runs)
    except ValueError as error:
        notes.append((OTHER_SEGMENTS, str(error), "left out"))
    infos = data.segments_info(index)
    where = f"image {data.image_ids[index]}"
    areas = dict(zip(runs.ids, runs.areas, strict=True))
    category_of = {info["id"]: info["category_id"] for info in infos}
    pixels: Counter[int | str | None] = Counter()
    for number, area in areas.items():
        pixels[category_of.get(number)] += area
    if pixels[None] == pixels.total():
        notes.append(("images that are all void", where, "suspicious"))
    for info in infos:
        if info["id"] in areas:
            notes += _check_segment(info, areas[info["id"]], runs, f"segment {info['id']} of {where}")
    return _Checked(pixels, notes)


def _check_segment(info: dict[str, Any], area: int, runs: SegmentRuns, where: str) -> list[Note]:
    """Findings where the JSON tells other things of a segment than its pixels do; area and box may be left out."""
    notes: list[Note] = []
    if info.get("area", area) != area:
        notes.append(("areas unlike the pixels", f"{where}: {shorten(info['area'])}, pixels {area}", "suspicious"))
    if "bbox" in info:
        box = coco_mask.toBbox(runs.rle(info["id"])).astype(int).tolist()
        if info["bbox"] != box:
            notes.append(("boxes unlike the pixels", f"{where}: {shorten(info['bbox'])}, pixels {box}", "suspicious"))
    return notes
