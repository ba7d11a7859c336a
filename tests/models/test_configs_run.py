"""Every built-in config on small images: a training step, inference on two sizes, saving and loading."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

import condinst
from condinst import CondInst, config_names, load_config
from tests.models.tiny import make_image, make_semantic, make_target

SIZES = [(96, 128), (64, 80)]
BOXES = [[(4, 6, 60, 50), (70, 20, 120, 90)], [(10, 10, 70, 60)]]


@pytest.mark.parametrize("name", config_names())
def test_config_runs(name: str) -> None:
    torch.manual_seed(0)
    config = load_config(name).replace(
        score_threshold=0.0, max_detections=10, panoptic_score_threshold=0.0, stuff_area_limit=1
    )
    model = CondInst(config).train()
    torch.nn.init.constant_(model.head.bbox_pred.bias, 2.0)  # type: ignore[arg-type]
    images = [make_image(*size, seed) for seed, size in enumerate(SIZES)]
    targets = [make_target(*size, boxes) for size, boxes in zip(SIZES, BOXES, strict=True)]
    for target, size in zip(targets, SIZES, strict=True):
        target["labels"] %= config.num_classes
        target["semantic"] = make_semantic(*size, config.num_classes, config.num_stuff_classes)

    losses = model(images, targets, resize=False)
    assert ("loss_semantic" in losses) == config.semantic_loss
    assert ("loss_panoptic" in losses) == config.panoptic
    assert all(torch.isfinite(loss) for loss in losses.values()), losses
    torch.stack(list(losses.values())).sum().backward()
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, key
            continue
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        # no object is large enough for the coarse levels, so the boxes there have no loss
        assert parameter.grad.any() or key.startswith("head.scales."), key
    torch.optim.SGD(model.parameters(), lr=1e-3).step()

    with tempfile.TemporaryDirectory() as folder:  # pytest would keep the files, some of 200 MB
        path = Path(folder) / "model.safetensors"
        condinst.save_checkpoint(model, path)
        loaded = condinst.load(path)
    assert loaded.config == config
    options: dict[str, Any] = {"resize": False, "panoptic": config.panoptic}
    results = model.eval()(images, **options)
    for result, again, size in zip(results, loaded(images, **options), SIZES, strict=True):
        assert len(result["scores"]) and result["masks"].shape[1:] == size
        assert all(torch.equal(result[key], again[key]) for key in ("boxes", "scores", "labels", "masks"))
        if config.panoptic:
            segments = result["panoptic"]["segments_info"]
            assert segments and segments == again["panoptic"]["segments_info"]
            assert torch.equal(result["panoptic"]["ids"], again["panoptic"]["ids"])
            assert result["panoptic"]["ids"].shape == size
