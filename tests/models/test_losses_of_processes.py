"""The mean loss of two processes is that of one with both images, whichever of them have objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn

from condinst import CondInst
from tests.models.tiny import TINY, make_image, make_semantic, make_target, tiny_panoptic_config

BOXES = [(4, 4, 40, 40), (20, 10, 60, 50)]
STEPS = {"both": (BOXES, BOXES[:1]), "one": (BOXES, []), "none": ([], [])}
# norms without statistics of the batch, and no random choice of locations
PLAIN: dict[str, Any] = {"backbone_norm": "FrozenBN", "mask_branch_norm": "none", "mask_loss_locations": "all"}
CONFIGS = {
    "fg": TINY.replace(**PLAIN, semantic_loss=True),
    "moving_fg": TINY.replace(**PLAIN, cls_loss_normalizer="moving_fg"),
    "all": TINY.replace(**PLAIN, cls_loss_normalizer="all", box_quality="iou"),
    "panoptic": tiny_panoptic_config(**PLAIN),
}


def losses(config: str, step: str, indices: tuple[int, ...]) -> dict[str, Tensor]:
    """Of the images with these numbers."""
    torch.manual_seed(0)
    model = CondInst(CONFIGS[config]).train()
    images = [make_image(64, 64, index) for index in indices]
    targets = [make_target(64, 64, STEPS[step][index]) for index in indices]
    for target, boxes in zip(targets, (STEPS[step][index] for index in indices), strict=True):
        things = make_semantic(64, 64, 3, 3)
        target["semantic"] = things if boxes else torch.full_like(things, -1)
    with torch.no_grad():
        model(images, targets, resize=False)  # the moving average has moved once
        return model(images, targets, resize=False)


def compute(rank: int, folder: str) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/join", rank=rank, world_size=2)
    results = {(config, step): losses(config, step, (rank,)) for config in CONFIGS for step in STEPS}
    torch.save(results, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str], dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("processes")
    spawn(compute, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("config", CONFIGS)
def test_mean_is_that_of_one_process(
    config: str, step: str, of_two_processes: list[dict[tuple[str, str], dict[str, Tensor]]]
) -> None:
    expected = losses(config, step, (0, 1))
    first, second = (results[config, step] for results in of_two_processes)
    assert expected.keys() == first.keys() and expected["loss_cls"] > 0
    for name, loss in expected.items():
        torch.testing.assert_close((first[name] + second[name]) / 2, loss, rtol=1e-5, atol=1e-7, msg=name)
