"""Scores and pictures of docs/panoptic.md: ``python benchmarks/panoptic_sample.py ANNOTATIONS IMAGES WEIGHTS``.

ANNOTATIONS and IMAGES are of a COCO panoptic data set of a few images, WEIGHTS those of a model that has learnt them.
`docs/logs/panoptic_sample/metrics.json` gets the panoptic quality, `outputs/panoptic_ID.jpg` the truth beside what
the model finds. Then: ``python benchmarks/report_training.py``.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from studies.program import ROOT, Program, make_parser

if TYPE_CHECKING:
    from PIL import Image

    from condinst.data.panoptic import CocoPanoptic
    from condinst.models import CondInst

GAP = 8
METRICS = "docs/logs/panoptic_sample/metrics.json"
PICTURES = "outputs/panoptic_ID.jpg"


def main() -> None:
    """Score the model, and draw every image."""
    parser = make_parser(__doc__, out=ROOT, out_holds="docs/ with the scores, and outputs/ with the pictures")
    parser.add_argument("annotations", help="JSON file of a COCO panoptic data set")
    parser.add_argument("images", help="folder of its images")
    parser.add_argument("weights", help="of a panoptic model")
    program = Program(parser)
    options = program.options
    chosen = program.choose({name: name for name in (METRICS, PICTURES)})
    program.device()

    import condinst
    from condinst.data.open import open_panoptic
    from condinst.evaluation.evaluator import make_evaluator

    data, model = open_panoptic(options.annotations, options.images), condinst.load(options.weights)
    if METRICS in chosen:
        scores = make_evaluator(data, model.config).evaluate(model)
        report = {name: scores[name] for name in ("all", "things", "stuff")}
        report["per_class"] = {name: one for name, one in scores["per_class"].items() if not math.isnan(one["PQ"])}
        path = program.out / METRICS
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
        print({name: f"{100 * scores[name]['PQ']:.1f}" for name in ("all", "things", "stuff")})
    if PICTURES in chosen:
        for index, image_id in enumerate(data.image_ids):
            path = program.out / PICTURES.replace("ID", str(image_id))
            path.parent.mkdir(parents=True, exist_ok=True)
            _side_by_side(data, index, model).save(path, quality=88)


def _side_by_side(data: CocoPanoptic, index: int, model: CondInst) -> Image.Image:
    """The truth on the left, the model's segments on the right."""
    from PIL import Image

    from condinst.visualization import draw_panoptic

    truth = draw_panoptic(data.image(index), *data.segments(index), data.classes.panoptic_names)
    panoptic = model.predict(data.image_path(index)).panoptic
    assert panoptic is not None
    found = panoptic.plot()
    picture = Image.new("RGB", (2 * truth.width + GAP, truth.height), "white")
    picture.paste(truth, (0, 0))
    picture.paste(found, (truth.width + GAP, 0))
    return picture


if __name__ == "__main__":
    main()
