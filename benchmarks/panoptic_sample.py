"""Scores and pictures of docs/panoptic.md: ``python benchmarks/panoptic_sample.py ANNOTATIONS IMAGES WEIGHTS``.

ANNOTATIONS and IMAGES are of a COCO panoptic data set of a few images, WEIGHTS those of a model that has learnt them.
`docs/logs/panoptic_sample/metrics.json` gets the panoptic quality, `docs/images/panoptic_ID.jpg` the truth beside what
the model finds. Then: ``python benchmarks/report_training.py``.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from PIL import Image

import condinst
from condinst.data.open import open_panoptic
from condinst.data.panoptic import CocoPanoptic
from condinst.evaluation.categories import match_panoptic_categories
from condinst.evaluation.panoptic import evaluate_panoptic
from condinst.models import CondInst
from condinst.visualization import draw_panoptic

ROOT = Path(__file__).resolve().parents[1]
GAP = 8


def main() -> None:
    """Score the model, and draw every image."""
    annotations, images, weights = sys.argv[1:]
    data, model = open_panoptic(annotations, images), condinst.load(weights)
    scores = evaluate_panoptic(model, data, category_ids=match_panoptic_categories(data, model.config))
    report = {name: scores[name] for name in ("all", "things", "stuff")}
    report["per_class"] = {name: one for name, one in scores["per_class"].items() if not math.isnan(one["PQ"])}
    (ROOT / "docs/logs/panoptic_sample/metrics.json").write_text(json.dumps(report, indent=1) + "\n")
    for index, image_id in enumerate(data.image_ids):
        _side_by_side(data, index, model).save(ROOT / f"docs/images/panoptic_{image_id}.jpg", quality=88)
    print({name: f"{100 * scores[name]['PQ']:.1f}" for name in ("all", "things", "stuff")})


def _side_by_side(data: CocoPanoptic, index: int, model: CondInst) -> Image.Image:
    """The truth on the left, the model's segments on the right."""
    truth = draw_panoptic(data.image(index), *data.segments(index), data.class_names + data.stuff_names)
    panoptic = model.predict(data.image_path(index)).panoptic
    assert panoptic is not None
    found = panoptic.plot()
    picture = Image.new("RGB", (2 * truth.width + GAP, truth.height), "white")
    picture.paste(truth, (0, 0))
    picture.paste(found, (truth.width + GAP, 0))
    return picture


if __name__ == "__main__":
    main()
