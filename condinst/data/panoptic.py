"""COCO panoptic annotations as a torch data set."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condinst.classes import Classes
from condinst.data.annotated import AnnotatedImages, Target, Window
from condinst.data.ids import Id, few_ids, sort_key
from condinst.data.json_files import read_json
from condinst.data.objects import Objects
from condinst.data.panoptic_dialects import read_panoptic
from condinst.data.panoptic_png import read_segment_ids
from condinst.data.rles import boxes_of_rles, mask_pixels
from condinst.data.segment_runs import SegmentRuns
from condinst.progress import track

UNLISTED_IDS_ARE_VOID = "unlisted_ids_are_void"
"""A key of the content that allows ids in the images of segments that no segment names; their pixels are void."""

VOID = -1
"""The panoptic label of pixels that belong to no segment."""


class CocoPanoptic(AnnotatedImages):
    """Images with the segments of a COCO panoptic file: things, which are counted, and stuff, which is not.

    An item is an image uint8 [3, H, W] RGB and a target with `boxes` float32 [G, 4] xyxy px, `labels` int64 [G],
    `masks` bool [G, H, W] and `image_id` of the things, crowd regions left out, and `semantic`, int16 [H, W], the
    panoptic labels of all pixels: things 0 .. T-1, stuff T .. T+S-1, each in the order of the category ids, void -1.
    Crowd regions count as their category in it. Masks do not overlap; boxes are those of the masks. An image whose
    annotation is missing or bad is left out, which the attribute `findings` counts.

    Args:
        annotations: a COCO panoptic JSON file.
        images_dir: the folder that the file names of its images are relative to.
        segments_dir: the folder of its PNG files; by default the one beside it with its name without `.json`.

    Raises:
        ValueError: for a missing file, one in which nothing can be understood, or one in which an id is used twice.
            When an item is read, for an image or a PNG of another size than the file says, and for ids that are not in
            both the PNG and the file. The message names the file.
    """

    def __init__(self, annotations: str | Path, images_dir: str | Path, segments_dir: str | Path | None = None) -> None:
        path = Path(annotations)
        self._set_up(read_json(path), path, Path(images_dir), segments_dir)

    @classmethod
    def from_content(
        cls, content: Any, images_dir: str | Path, name: str | Path, segments_dir: str | Path | None = None
    ) -> CocoPanoptic:
        """The same from what such a file holds.

        Args:
            content: the dict of the JSON. With `unlisted_ids_are_void`, true, in it, ids in the PNG files that it does
                not name are void, and no error.
            images_dir: the folder that the file names of its images are relative to.
            name: where the content is from, for messages.
            segments_dir: the folder of its PNG files; by default the one beside `name`.
        """
        data = cls.__new__(cls)
        data._set_up(content, Path(name), Path(images_dir), segments_dir)
        return data

    def _set_up(self, content: Any, annotations: Path, images_dir: Path, segments_dir: str | Path | None) -> None:
        self.segments_dir = annotations.with_suffix("") if segments_dir is None else Path(segments_dir)
        entries = read_panoptic(content, annotations, images_dir, self.segments_dir)
        self._set_images(entries, annotations, images_dir)
        categories = sorted(entries.categories, key=lambda category: sort_key(category["id"]))
        things = [category for category in categories if category["isthing"]]
        stuff = [category for category in categories if not category["isthing"]]
        self.classes = Classes.from_categories(things, stuff)
        self.label_of = {category: label for label, category in enumerate(self.classes.panoptic_category_ids)}
        self._annotation_of: dict[Id, dict[str, Any]] = {
            annotation["image_id"]: annotation for annotation in entries.annotations
        }
        self._unlisted_are_void = bool(content.get(UNLISTED_IDS_ARE_VOID, False))
        self._right: set[int] = set()

    @property
    def num_annotations(self) -> int:
        """Number of segments of all images."""
        return sum(len(annotation["segments_info"]) for annotation in self._annotation_of.values())

    def segments_path(self, index: int) -> Path:
        """The PNG file with the segments of image `index`."""
        return self.segments_dir / self._annotation_of[self.image_ids[index]]["file_name"]

    def check_segments(self, count: int, *, progress: bool = False) -> dict[int, str]:
        """Reads the PNG files of the first `count` images; those that were right once are not read again.

        Args:
            count: how many images.
            progress: show a progress bar on stderr, if that is a terminal.

        Returns:
            By the index of each image whose file `segments` would refuse: why, with the name of the file.

        Raises:
            ValueError: no file can be used; the message names the first.
        """
        unread = [
            index for index in range(count) if index not in self._right or not self.segments_path(index).is_file()
        ]
        if not unread:
            return {}
        problems: dict[int, str] = {}
        with ThreadPoolExecutor() as pool:  # decoding PNG files leaves Python's lock alone
            checked = zip(unread, pool.map(self._segments_problem, unread), strict=True)
            for index, problem in track(checked, "Reading segments", len(unread), shown=progress):
                if problem is None:
                    self._right.add(index)
                else:
                    problems[index] = problem
        if len(problems) == count:
            raise ValueError(f"{problems[0]}; {count} of {count} images have no PNG with segments that can be used")
        return problems

    def _segments_problem(self, index: int) -> str | None:
        """Why the PNG file of an image cannot be used, if so."""
        try:
            self.check_ids(index, self.segment_runs(index))
        except (OSError, ValueError) as error:
            return str(error)
        return None

    def segments_info(self, index: int) -> list[dict[str, Any]]:
        """The segments of image `index` as the annotation file has them."""
        return self._annotation_of[self.image_ids[index]]["segments_info"]

    def segments(self, index: int) -> tuple[Tensor, list[dict[str, Any]]]:
        """The segments of image `index`.

        Returns:
            Their ids, int32 [H, W], where 0 is void; and of each segment, in the order of the annotation file, `id`,
            `category_id`, `iscrowd` (0 or 1), `area`, its pixels, its panoptic `label` and `isthing`.

        Raises:
            ValueError: a PNG file that is missing, damaged or of another size, or whose ids are not those of the
                annotation file; the message names file and ids.
        """
        runs = self.segment_runs(index)
        self.check_ids(index, runs)
        infos = self.segments_info(index)
        areas = dict(zip(runs.ids, runs.areas, strict=True))
        listed = [
            {
                "id": info["id"],
                "category_id": info["category_id"],
                "iscrowd": int(info.get("iscrowd", 0)),
                "area": areas[info["id"]],
                "label": self.label_of[info["category_id"]],
                "isthing": self.label_of[info["category_id"]] < self.classes.num_classes,
            }
            for info in infos
        ]
        return runs.replaced({info["id"]: info["id"] for info in infos}, 0, np.int32), listed

    def segment_runs(self, index: int) -> SegmentRuns:
        """What the PNG file of image `index` holds; only its size is checked."""
        path = self.segments_path(index)
        ids = read_segment_ids(path)
        self.check_size(index, path, ids.shape[0], ids.shape[1])
        return SegmentRuns(ids)

    def check_ids(self, index: int, runs: SegmentRuns) -> None:
        """Raises a ValueError when the ids of a PNG file are not those of the annotation file."""
        path = self.segments_path(index)
        listed = {info["id"] for info in self.segments_info(index)}
        unknown = set() if self._unlisted_are_void else set(runs.ids) - listed - {0}
        missing = listed - set(runs.ids)
        problems = [f"segment ids that {self.annotations} lacks: {few_ids(unknown)}"] * bool(unknown)
        problems += [f"no pixel of the segment ids {few_ids(missing)} of {self.annotations}"] * bool(missing)
        if problems:
            raise ValueError(f"{path}: {'; '.join(problems)}")

    def objects(self, index: int, window: Window | None = None) -> Objects:
        """The things of image `index`, crowd regions left out, and its panoptic labels.

        Args:
            index: of the image.
            window: (x1, y1, x2, y2) px: leave out things whose box is outside. Coordinates, masks and labels stay
                those of the whole image.

        Raises:
            ValueError: as of `segments`.
        """
        runs = self.segment_runs(index)
        self.check_ids(index, runs)
        label_of_id = {info["id"]: self.label_of[info["category_id"]] for info in self.segments_info(index)}
        things = [info["id"] for info in self.segments_info(index) if self.is_object(info)]
        rles = [runs.rle(number) for number in things]
        boxes = boxes_of_rles(rles)
        x1, y1, x2, y2 = window or (0, 0, runs.size[1], runs.size[0])
        near = (boxes[:, 0] < x2) & (boxes[:, 2] > x1) & (boxes[:, 1] < y2) & (boxes[:, 3] > y1)
        return Objects(
            boxes=boxes[near],
            labels=torch.tensor([label_of_id[number] for number in things], dtype=torch.int64)[near],
            segmentations=[rle for rle, is_near in zip(rles, near.tolist(), strict=True) if is_near],
            size=runs.size,
            image_id=self.image_ids[index],
            semantic=runs.replaced(label_of_id, VOID, np.int16),
        )

    def is_object(self, info: dict[str, Any]) -> bool:
        """Whether a segment is a thing that is no crowd region."""
        return self.label_of[info["category_id"]] < self.classes.num_classes and not info.get("iscrowd", 0)

    def target(self, index: int) -> Target:
        """What is on image `index` with masks as pixels, without reading the image."""
        objects = self.objects(index)
        height, width = objects.size
        self._check_masks(objects)
        rles = [rle for rle in objects.segmentations if isinstance(rle, dict)]
        return {
            "boxes": objects.boxes,
            "labels": objects.labels,
            "masks": mask_pixels(rles, np.arange(height), np.arange(width)),
            "image_id": objects.image_id,
            "semantic": objects.semantic,
        }
