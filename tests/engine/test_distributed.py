"""Two processes train as one with the whole batch."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from condinst.data.coco import CocoInstances
from condinst.data.panoptic import CocoPanoptic
from condinst.engine.training import train
from tests.data.synthetic import write_panoptic, write_rectangles
from tests.engine.test_training import SHORT, make_student, read_log

CONFIG = dataclasses.replace(
    SHORT, steps=5, batch_size=4, base_batch_size=4, crop_size=0, optimizer="sgd", learning_rate=0.01, ema_decay=0.0
)
# norms without statistics of the batch, and no random draws of the model
STUDENT = {
    "backbone_norm": "FrozenBN",
    "mask_branch_norm": "none",
    "mask_loss_locations": "all",
    "semantic_loss": True,
}
PANOPTIC = {
    **STUDENT,
    "num_classes": 2,
    "class_names": (),
    "panoptic": True,
    "num_stuff_classes": 2,
    "fpn_in_features": ("res2", "res3", "res4", "res5"),
    "panoptic_channels": 64,
    "stuff_area_limit": 64,
}

SCRIPT = """
import sys
from pathlib import Path
import torch
from tests.engine.test_distributed import train_on
torch.set_num_threads(1)
train_on(Path(sys.argv[1]), sys.argv[2], "two")
"""


def train_on(folder: Path, kind: str, out: str) -> None:
    """A run on the data that lie in a folder."""
    data: CocoInstances | CocoPanoptic
    if kind == "panoptic":
        data = CocoPanoptic(folder / "data" / "panoptic.json", folder / "data" / "images")
    else:
        data = CocoInstances(folder / "data" / "instances.json", folder / "data" / "images")
    student = make_student(**(PANOPTIC if kind == "panoptic" else STUDENT))
    train(student, CONFIG, data, folder / out, validation=data, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["instances", "panoptic"])
def test_two_processes_train_as_one(tmp_path: Path, kind: str) -> None:
    (write_panoptic if kind == "panoptic" else write_rectangles)(tmp_path / "data", images=6)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, script, tmp_path, kind]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    two = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300)
    assert two.returncode == 0, two.stderr

    train_on(tmp_path, kind, "one")
    one, both = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("one", "two"))
    for name, value in one["model"].items():
        difference = (both["model"][name].double() - value.double()).norm()
        assert difference <= 1e-4 * max(float(value.double().norm()), 1e-3), name
    for name in ("log", "validation"):
        rows = [read_log(tmp_path / folder, name) for folder in ("one", "two")]
        assert len(rows[0]) == len(rows[1]) > 0
        for own, other in zip(*rows, strict=True):
            for key in own:
                if "loss" in key or "AP" in key or "PQ" in key:
                    assert other[key] == pytest.approx(own[key], rel=1e-4, abs=1e-6, nan_ok=True), key
