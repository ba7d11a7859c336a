"""Every built-in config on small images: a training step, inference on two sizes, saving and loading."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch

import condinst
from condinst import CondInst, config_names, load_config
from tests.models.tiny import make_image, make_target

SIZES = [(96, 128), (64, 80)]
BOXES = [[(4, 6, 60, 50), (70, 20, 120, 90)], [(10, 10, 70, 60)]]


@pytest.mark.parametrize("name", config_names())
def test_config_runs(name: str) -> None:
    torch.manual_seed(0)
    config = load_config(name).replace(score_threshold=0.0, max_detections=10)
    model = CondInst(config).train()
    torch.nn.init.constant_(model.head.bbox_pred.bias, 2.0)  # type: ignore[arg-type]
    images = [make_image(*size, seed) for seed, size in enumerate(SIZES)]
    targets = [make_target(*size, boxes) for size, boxes in zip(SIZES, BOXES, strict=True)]
    for target in targets:
        target["labels"] %= config.num_classes

    losses = model(images, targets, resize=False)
    assert ("loss_semantic" in losses) == config.semantic_loss
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
    results = model.eval()(images, resize=False)
    for result, again, size in zip(results, loaded(images, resize=False), SIZES, strict=True):
        assert len(result["scores"]) and result["masks"].shape[1:] == size
        assert all(torch.equal(result[key], again[key]) for key in ("boxes", "scores", "labels", "masks"))
