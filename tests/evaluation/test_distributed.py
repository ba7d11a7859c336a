"""Processes that share the images return what one process does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from condinst.data.coco import CocoInstances
from condinst.evaluation.coco import InstanceEvaluator
from condinst.files import json_ready
from tests.data.synthetic import write_rectangles
from tests.models.tiny import make_model

NUM_PROCESSES = 2

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="this torch has no torch.distributed")


def _evaluate(folder: Path, name: str) -> None:
    """Evaluates a small model on the data of a folder and writes its scores, without times, and its results."""
    torch.set_num_threads(1)  # the number of threads may change the last bit of a sum
    model = make_model(num_classes=1, class_names=("rectangle",))
    data = CocoInstances(folder / "instances.json", folder / "images")
    scores = InstanceEvaluator(data, results_path=folder / f"{name}_results.json", curves=True).evaluate(model)
    assert scores.pop("timing")["total"] > 0
    (folder / f"{name}.json").write_text(json.dumps(json_ready(scores)))


def _process(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=(folder / "store").as_uri(), rank=rank, world_size=NUM_PROCESSES)
    _evaluate(folder, f"rank{rank}")
    distributed.destroy_process_group()


def test_sharded_images(tmp_path: Path, keep_threads: None) -> None:
    write_rectangles(tmp_path, images=5)
    (tmp_path / "images" / "3.png").unlink()
    _evaluate(tmp_path, "alone")
    spawn(_process, (tmp_path,), nprocs=NUM_PROCESSES)

    alone = json.loads((tmp_path / "alone.json").read_text())
    assert [failure["image_id"] for failure in alone["failed"]] == [3]
    assert 0 < alone["box"]["AR"] < 1
    for rank in range(NUM_PROCESSES):
        assert json.loads((tmp_path / f"rank{rank}.json").read_text()) == alone
    results = (tmp_path / "alone_results.json").read_text()
    assert {row["image_id"] for row in json.loads(results)} == {0, 1, 2, 4}
    assert (tmp_path / "rank0_results.json").read_text() == results
    assert not (tmp_path / "rank1_results.json").exists()
