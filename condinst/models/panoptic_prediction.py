"""The panoptic result of one image, to look at and to save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..classes import Classes
from ..data.panoptic_results import write_panoptic_result
from ..files import atomic_write, plain_number
from ..visualization import draw_panoptic


@dataclass(eq=False, repr=False)
class PanopticPrediction:
    """The N segments of one image, on the CPU: each pixel belongs to one of them or to none (void).

    Args:
        image: uint8 [3, H, W] RGB.
        ids: int32 [H, W], the segment of each pixel, 1 .. N; 0 is void.
        segments_info: for segment 1, 2, ... a dict of `id`, `label` (panoptic label: things first, then stuff),
            `isthing`, `area` (px) and, of things, `score`.
        classes: names and category ids of the panoptic labels.
    """

    image: Tensor
    ids: Tensor
    segments_info: list[dict[str, Any]]
    classes: Classes = Classes()

    def __len__(self) -> int:
        return len(self.segments_info)

    def __repr__(self) -> str:
        height, width = self.image.shape[1:]
        # things before stuff, then what there is more of
        kinds = Counter((segment["isthing"], segment["label"]) for segment in self.segments_info)
        ranked = sorted(kinds.items(), key=lambda kind: (-kind[0][0], -kind[1]))
        segments = ", ".join(f"{count} {self.classes.name(label)}" for (_, label), count in ranked)
        percent = 100 * self.void_fraction
        void = f"{percent:.0f}" if percent >= 1 or percent == 0 else "<1"
        return f"PanopticPrediction({segments or 'nothing found'}; {void} % void; image {width} x {height})"

    @property
    def num_things(self) -> int:
        """How many of the segments are things; the others are stuff."""
        return sum(bool(segment["isthing"]) for segment in self.segments_info)

    @property
    def void_fraction(self) -> float:
        """The share of the pixels without a segment, in 0..1."""
        return int((self.ids == 0).sum()) / self.ids.numel()

    def plot(self) -> Image.Image:
        """The image with its segments tinted and named; see `draw_panoptic`."""
        return draw_panoptic(self.image, self.ids, self.segments_info, self.classes.panoptic_names)

    def save(self, path: str | Path) -> None:
        """Writes `plot()` to a file, in the format of its ending; missing folders are made."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.plot().save(path)

    def to_coco(
        self, image_id: int, png_path: str | Path, category_ids: Sequence[int | str] | None = None
    ) -> dict[str, Any]:
        """The result in COCO's panoptic results format: the PNG of the ids is written, atomically.

        Args:
            image_id: the image's id in the annotation file.
            png_path: the PNG; missing folders are made.
            category_ids: the category id of each panoptic label; by default the model's own, or label + 1 where it has
                none.

        Returns:
            The image's entry for `annotations`, ready for JSON: `image_id`, `file_name` (that of the PNG, without its
            folder) and `segments_info` with `category_id` for `label`.

        Raises:
            ValueError: a label without a category id.
        """
        if category_ids is None:
            category_ids = self.classes.panoptic_category_ids
        target = Path(png_path)
        with atomic_write(target) as partial:
            numbers = [plain_number(category_id) for category_id in category_ids]
            entry = write_panoptic_result(self.ids, self.segments_info, numbers, plain_number(image_id), partial)
        return entry | {"file_name": target.name}
