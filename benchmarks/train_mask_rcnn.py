"""Trains torchvision's Mask R-CNN beside condinst_nano: the same backbone, data, changes of the data, and time.

``python benchmarks/train_mask_rcnn.py --data JSON --images DIR --validation-data JSON --validation-images DIR --out DIR
--minutes 33`` writes `log.csv`, `model.safetensors` and `metrics.json` into a folder.

Taken from condinst_nano are the backbone (ResNet-18 of half width, from random weights), the FPN P2-P5 with 64
channels, the scale of images, and the whole table [training] of its config but for the number of steps: wall time ends
the training, and the learning rate falls with the time that has gone by. All else is torchvision's but for what fits
heads to so small a network and so small objects, see `make_mask_rcnn` in
benchmarks/studies/mask_rcnn_training.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from studies.program import Program, make_parser

CONFIG = "condinst_nano"


def main() -> None:
    """Train, evaluate, and write what came of it."""
    parser = make_parser(__doc__, out=None, out_holds="log.csv, model.safetensors and metrics.json")
    parser.add_argument("--data", type=Path, required=True, help="COCO instances JSON of the training images")
    parser.add_argument("--images", type=Path, required=True, help="their folder")
    parser.add_argument("--validation-data", type=Path, required=True, help="COCO instances JSON to evaluate on")
    parser.add_argument("--validation-images", type=Path, required=True, help="folder of its images")
    parser.add_argument("--max-validation-images", type=int, default=0, help="only so many of them; 0 for all")
    parser.add_argument("--minutes", type=float, required=True, help="wall time of the training")
    parser.add_argument("--seed", type=int, default=0)
    program = Program(parser)
    options, out = program.options, program.out
    program.choose({f"Mask R-CNN beside {CONFIG}, {options.minutes:g} minutes on {options.data}": CONFIG})
    program.device()

    import torch
    from safetensors.torch import save_file

    from condinst import load_config
    from condinst.benchmarking.machine import about
    from condinst.data.coco import CocoInstances
    from condinst.engine.config import load_training_config
    from condinst.evaluation.coco import InstanceEvaluator
    from condinst.files import json_ready
    from condinst.precision import choose_precision
    from studies.mask_rcnn_training import CPU, ZeroBased, make_mask_rcnn, train

    torch.manual_seed(options.seed)
    out.mkdir(parents=True, exist_ok=True)

    config = load_config(CONFIG)
    precision = choose_precision("auto", CPU).name
    training = load_training_config(CONFIG, [f"seed={options.seed}", f"precision={precision}"])
    data = CocoInstances(options.data, options.images)
    validation = CocoInstances(options.validation_data, options.validation_images)
    model = make_mask_rcnn(config)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{num_parameters:,} parameters; {len(data)} images, {options.minutes:g} minutes, {training.precision}")
    result, steps, num_images = train(model, data, config, training, options.minutes, out / "log.csv")
    save_file(result.state_dict(), out / "model.safetensors")

    scores = InstanceEvaluator(validation, max_detections=config.max_detections).evaluate(
        ZeroBased(result), max_images=options.max_validation_images, progress=True
    )
    metrics: dict[str, Any] = {
        **about(CPU),
        "parameters": num_parameters,
        "precision": training.precision,
        "seed": options.seed,
        "minutes": options.minutes,
        "steps": steps,
        "images_seen": num_images,
        **json_ready(scores),
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    for kind in ("mask", "box"):
        print(f"{kind} AP {100 * scores[kind]['AP']:.1f}, AP50 {100 * scores[kind]['AP50']:.1f}")


if __name__ == "__main__":
    main()
