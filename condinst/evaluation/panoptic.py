"""Panoptic quality of a model, or of results that lie on disk."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from condinst.data.findings import Finding, Findings
from condinst.data.panoptic import CocoPanoptic
from condinst.data.panoptic_png import read_segment_ids
from condinst.data.panoptic_results import known_segments, png_name, read_panoptic_results, write_panoptic_result
from condinst.data.usable import survey_panoptic
from condinst.distributed import rank
from condinst.evaluation.categories import few
from condinst.evaluation.panoptic_quality import Counts, Segments, compare_segments, summarize
from condinst.evaluation.runner import (
    check_images,
    check_output,
    image_count,
    report,
    report_findings,
    run_lengths_option,
    run_model,
)
from condinst.files import write_json
from condinst.messages import shorten_text
from condinst.progress import track

BAD_SEGMENTS = "images without a PNG of segments that can be used"


@dataclass
class _Truth:
    """What predictions are compared with.

    Args:
        indices: of the images that count.
        objects_left_out: segments that are not in them.
        findings: what is unusual in the annotations.
    """

    indices: list[int]
    objects_left_out: int
    findings: list[Finding]


class PanopticEvaluator:
    """Computes the panoptic quality on annotated images, by the rules of COCO's panoptic task.

    Args:
        data: the annotated images.
        category_ids: the category of each panoptic label of the model, None for one that the data does not have and
            whose segments become void, see `match_classes`. By default the things of the data and then its stuff, each
            in the order of their ids.
        results_dir: write COCO's panoptic results there: `panoptic.json` and the folder `panoptic` with a PNG for each
            image, empty where it was skipped.

    Raises:
        ValueError: `results_dir` whose files would overwrite the ground truth.
    """

    best_metric = "PQ"

    def __init__(
        self,
        data: CocoPanoptic,
        *,
        category_ids: Sequence[int | str | None] | None = None,
        results_dir: str | Path | None = None,
    ) -> None:
        self.data = data
        self.category_ids = data.classes.panoptic_category_ids if category_ids is None else category_ids
        self.results_dir = None if results_dir is None else Path(results_dir)
        self._has_warned = False
        self._written: list[dict[str, Any] | None] = []  # entries of panoptic.json, in the order of the run
        if self.results_dir is not None:
            check_output(self.results_dir / "panoptic.json", [data.annotations])
            check_output(self.results_dir / "panoptic", _folders(data))

    def check(self, max_images: int = 0) -> None:
        """See `Evaluator.check`."""
        self._read_truth(max_images, progress=False)

    def _read_truth(self, max_images: int, *, progress: bool, need_images: bool = True) -> _Truth:
        """The images that can be compared with. What is left out of them is a warning, once."""
        data, count = self.data, image_count(self.data, max_images)
        if need_images:
            check_images(data, count)
        problems = data.check_segments(count, progress=progress)
        surveyed = survey_panoptic(data)
        findings = Findings(surveyed.findings)
        for problem in problems.values():
            findings.note(BAD_SEGMENTS, problem, "left out")
        left_out = sum(len(data.segments_info(index)) for index in problems)
        if count == len(data):  # the images of the others are not among those of the data
            left_out += surveyed.num_left_out
        truth = _Truth([index for index in range(count) if index not in problems], left_out, findings.worst_first())
        texts = [shorten_text(str(finding)) for finding in findings.with_effect("left out", "repaired")]
        if texts and not self._has_warned and rank() == 0:
            without = f"; the score is without {left_out} segments" if left_out else ""
            message = f"{data.annotations}: {len(truth.indices)} of {count} images can be used; {'; '.join(texts)}"
            warnings.warn(message + without, stacklevel=3)
            self._has_warned = True
        return truth

    def evaluate(
        self, model: nn.Module, *, max_images: int = 0, device: torch.device | str = "cpu", progress: bool = False
    ) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Images leave only counts behind.

        Args:
            model: called as `model([image], panoptic=True)`; see `CondInst.forward` for the `panoptic` that it gives.

        Returns:
            Also `all`, `things`, `stuff` and `per_class`, see `summarize`; `objects_left_out`, the number of segments
            that the scores are without, and `findings`, what is unusual in the annotations. Images whose PNG file is
            missing or bad are left out.

        Raises:
            ValueError: when its image comes, segments of the model that do not fit their map.
        """
        truth = self._read_truth(max_images, progress=progress and rank() == 0)
        self._written = []
        try:
            outcomes = run_model(
                model,
                self.data,
                truth.indices,
                self._result,
                options={"panoptic": True} | run_lengths_option(model),
                device=torch.device(device),
                progress=progress,
            )
        except Exception:  # the results so far must not be lost
            if rank() == 0:
                self._write_results(self._written)
            raise
        if rank() == 0:
            self._write_results([outcome.result[1] for outcome in outcomes])
        return {
            **summarize([outcome.result[0] for outcome in outcomes], self.data.classes),
            **report_findings(truth.objects_left_out, truth.findings),
            **report(self.data, truth.indices, outcomes),
        }

    def _result(self, index: int, detections: dict[str, Any] | None) -> tuple[dict[int, Counts], dict[str, Any] | None]:
        """The counts of an image, and its entry in `panoptic.json`, whose PNG is written."""
        ids, segments = torch.zeros(self.data.image_size(index), dtype=torch.int32), []
        if detections is not None:
            ids, segments = detections["panoptic"]["ids"], detections["panoptic"]["segments_info"]
        entry = None
        if self.results_dir is not None:
            image_id = self.data.image_ids[index]
            path = self.results_dir / "panoptic" / png_name(image_id)
            entry = write_panoptic_result(ids, segments, self.category_ids, image_id, path)
            self._written.append(entry)
        return _compare(self.data, index, *known_segments(ids, segments, self.category_ids)), entry

    def _write_results(self, annotations: list[dict[str, Any] | None]) -> None:
        if self.results_dir is not None:
            write_json(self.results_dir / "panoptic.json", {"annotations": annotations})

    def evaluate_results(
        self, results: str | Path, *, content: Any = None, max_images: int = 0, progress: bool = False
    ) -> dict[str, Any]:
        """The scores of results in COCO's form, without a model and without the images.

        Args:
            results: the JSON file, see `read_panoptic_results`.
            content: what it holds, where it is read already.
            max_images: only so many of the first images; 0 for all.
            progress: show a progress bar on stderr, if that is a terminal.

        Returns:
            As `evaluate`, without `timing`.

        Raises:
            ValueError: a negative `max_images`; no image of the data with sound segments; an image without results or
                with those of another file, damaged PNGs, segments that do not fit their map, unknown categories.
        """
        data = self.data
        segments_of = read_panoptic_results(results, data, content)
        truth = self._read_truth(max_images, progress=progress, need_images=False)
        missing = [
            image_id for image_id in (data.image_ids[index] for index in truth.indices) if image_id not in segments_of
        ]
        if missing:
            raise ValueError(f"{results}: expected results of each image, got none of {few(missing)}")

        def compare(index: int) -> dict[int, Counts]:
            path, segments = segments_of[data.image_ids[index]]
            return _compare(data, index, read_segment_ids(path), segments)

        with ThreadPoolExecutor() as pool:  # decoding PNG files leaves Python's lock alone
            compared = pool.map(compare, truth.indices)
            per_image = list(track(compared, "Comparing", len(truth.indices), shown=progress))
        about = {"data": str(data.annotations), "images": len(truth.indices), "failed": [], "results": str(results)}
        return {
            **summarize(per_image, data.classes),
            **report_findings(truth.objects_left_out, truth.findings),
            **about,
        }

    def columns(self, scores: dict[str, Any]) -> dict[str, float]:
        """See `Evaluator.columns`: `PQ`, `SQ` and `RQ`, and `PQ_things` and `PQ_stuff`."""
        row = {name: scores["all"][name] for name in ("PQ", "SQ", "RQ")}
        return row | {f"PQ_{kind}": scores[kind]["PQ"] for kind in ("things", "stuff")}


def evaluate_panoptic(
    model: nn.Module,
    data: CocoPanoptic,
    *,
    max_images: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """The panoptic quality of a model in one call: `PanopticEvaluator(data, **options).evaluate(model, ...)`."""
    evaluator = PanopticEvaluator(data, **options)
    return evaluator.evaluate(model, max_images=max_images, device=device, progress=progress)


def _folders(data: CocoPanoptic) -> set[Path]:
    """Where the data's own files are: images and segments."""
    return {path(index).parent for path in (data.image_path, data.segments_path) for index in range(len(data))}


def _compare(data: CocoPanoptic, index: int, ids: torch.Tensor, segments: Segments) -> dict[int, Counts]:
    truth_ids, truth = data.segments(index)
    known = data.classes.panoptic_category_ids
    return compare_segments(truth_ids, truth, ids, segments, known, f"image {data.image_ids[index]}")
