"""The model against outputs recorded from AdelaiDet and MMDetection (tests/goldens/README.md), on every backend."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from condinst import ops
from condinst.backends import registry
from condinst.models.checkpoints.adelaidet import rename_key
from condinst.models.detections import make_locations
from condinst.models.preprocessing import make_batch
from tests.goldens.recipe import load_golden, load_recorded

LOSS_NAMES = {
    "loss_fcos_cls": "loss_cls",
    "loss_fcos_loc": "loss_box",
    "loss_fcos_ctr": "loss_centerness",
    "loss_mask": "loss_mask",
    "loss_sem": "loss_semantic",
}


def _places() -> list[Any]:
    """(device, backend) for the reference and for every backend on the devices it computes on."""
    places = [pytest.param("cpu", "reference", id="cpu-reference")]
    for backend, devices in registry.DEVICES.items():
        for device in devices:
            marks = [pytest.mark.gpu] if device == "cuda" else []
            places.append(pytest.param(device, backend, id=f"{device}-{backend}", marks=marks))
    return places


@pytest.fixture(autouse=True)
def place(device: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One backend for all operators that have it, the reference for the others; float32 convolutions in full."""
    monkeypatch.setattr(registry, "auto_order", lambda op, device: (backend, "reference"))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


each_place = pytest.mark.parametrize(("device", "backend"), _places())
each_inference = pytest.mark.parametrize("name", ["r50_infer", "rt_dla34_shared_infer"])


def pair(ours: tuple[Tensor, Tensor, Tensor], theirs: tuple[Tensor, Tensor, Tensor]) -> list[int]:
    """For each of our detections (scores, labels, boxes) theirs of the same class, score and place, each once.

    Detections are sets: rows of nearly equal scores may swap.
    """
    (scores, labels, boxes), (other_scores, other_labels, other_boxes) = ours, theirs
    free = set(range(len(other_scores)))
    pairs = []
    for row in range(len(scores)):
        alike = [i for i in free if other_labels[i] == labels[row] and abs(other_scores[i] - scores[row]) <= 1e-4]
        assert alike, f"no recorded detection is like number {row}"
        pairs.append(min(alike, key=lambda i: float((other_boxes[i] - boxes[row]).abs().sum())))  # noqa: B023
        free.remove(pairs[-1])
    assert not free
    return pairs


@each_place
@each_inference
def test_inference(device: str, backend: str, name: str) -> None:
    golden = load_golden(name)
    model = load_recorded(golden, device)
    image = torch.from_numpy(golden["image_rgb"])
    height, width = golden["output_size"].tolist()
    (result,) = model([image], resize=False, output_sizes=[(height, width)])
    result = {key: value.cpu() for key, value in result.items()}

    expected = {key: torch.from_numpy(golden[key]) for key in ("scores", "labels", "boxes")}
    masks = torch.from_numpy(np.unpackbits(golden["masks_packed"], axis=-1, count=width)).bool()
    keys = ("scores", "labels", "boxes")
    theirs = pair(tuple(result[key] for key in keys), tuple(expected[key] for key in keys))  # type: ignore[arg-type]
    assert torch.equal(result["labels"], expected["labels"][theirs])
    torch.testing.assert_close(result["scores"], expected["scores"][theirs], rtol=0, atol=1e-5)
    torch.testing.assert_close(result["boxes"], expected["boxes"][theirs], rtol=0, atol=1e-3)
    different = int((result["masks"] != masks[theirs]).sum())
    assert different <= 5e-6 * masks.numel()


@each_place
@each_inference
def test_mask_logits(device: str, backend: str, name: str) -> None:
    golden = load_golden(name)
    model = load_recorded(golden, device)
    batch = make_batch([torch.from_numpy(golden["image_rgb"])], model.config, model.pixel_mean, model.pixel_std)
    with torch.no_grad():
        found, _, logits = model.detect(batch)

    scores, labels, boxes = (
        torch.from_numpy(golden[f"proposals.0.{key}"]) for key in ("scores", "pred_classes", "pred_boxes")
    )
    assert found.boxes is not None
    theirs = pair((found.scores.cpu(), found.labels.cpu(), found.boxes.cpu()), (scores, labels, boxes))
    expected = torch.from_numpy(golden["mask_logits_stride"])[theirs, 0]
    torch.testing.assert_close(logits.cpu(), expected, rtol=0, atol=1e-4)

    # straight to run lengths: those of the recorded masks, but for the pixels test_inference allows
    network_size = tuple(golden["image_rgb"].shape[1:])
    output_size = tuple(golden["output_size"].tolist())
    encoded = ops.masks_to_rle(logits, network_size=network_size, output_size=output_size)
    masks = np.unpackbits(golden["masks_packed"], axis=-1, count=output_size[1])
    different = 0
    for rle, recorded in zip(encoded.rles, masks[theirs], strict=True):
        if rle != coco_mask.encode(np.asfortranarray(recorded)):
            different += int((coco_mask.decode(rle) != recorded).sum())
    assert different <= 5e-6 * masks.size


@each_place
def test_mmdetection(device: str, backend: str) -> None:
    """Two images of different sizes in one batch, each brought to a size of its own.

    The limits are a few times what float32 sums in other orders move (measured on an Intel Xeon, with AVX-512, AVX2 and
    SSE4.1, without oneDNN, in random orders, and by Winograd's convolutions): scores by up to 1.7e-6, boxes by 7e-4 px,
    mask logits, which go up to 44, by 5e-4 beyond the rounding of the recorded ones to float16, and of 30 million mask
    pixels up to 105, all with a probability within 1e-4 of the threshold. Float64 is as far from the recording.
    """
    golden = load_golden("mmdet_r50_infer")
    model = load_recorded(golden, device)
    images = [torch.from_numpy(golden[f"image_rgb.{index}"]) for index in range(2)]
    network_sizes = [(image.shape[1], image.shape[2]) for image in images]
    output_sizes = [tuple(golden[f"output_size.{index}"].tolist()) for index in range(2)]
    results = model(images, resize=False, output_sizes=output_sizes)
    batch = make_batch(images, model.config, model.pixel_mean, model.pixel_std)
    with torch.no_grad():
        found, _, mask_logits = model.find(batch, network_sizes)

    num_different = num_pixels = 0
    for index, result in enumerate(results):
        sizes: Any = {"network_size": network_sizes[index], "output_size": output_sizes[index]}
        ours = tuple(result[key].cpu() for key in ("scores", "labels", "boxes"))
        expected = tuple(torch.from_numpy(golden[f"{key}.{index}"]) for key in ("scores", "labels", "boxes"))
        theirs = torch.tensor(pair(ours, expected))  # type: ignore[arg-type]
        torch.testing.assert_close(ours[0], expected[0][theirs], rtol=0, atol=1e-5)
        torch.testing.assert_close(ours[2], expected[2][theirs], rtol=0, atol=2e-3)

        own = torch.nonzero(found.image_indices == index).squeeze(1)
        logits = mask_logits(found.image_indices[own], found.location_indices[own])
        first = theirs < 10
        recorded = torch.from_numpy(golden[f"mask_logits_of_first_10.{index}"]).float()
        torch.testing.assert_close(logits.cpu()[first], recorded[theirs[first]], rtol=2**-11, atol=2e-3)

        packed = golden[f"masks_packed.{index}"]
        masks = torch.from_numpy(np.unpackbits(packed, axis=-1, count=output_sizes[index][1])).bool()[theirs]
        different = result["masks"].cpu() != masks
        rows = torch.nonzero(different.flatten(1).any(dim=1)).squeeze(1)
        certain, possible = (
            ops.masks_to_image(logits[rows.to(device)], **sizes, threshold=threshold).cpu()
            for threshold in (0.5 + 2e-4, 0.5 - 2e-4)
        )
        assert not (certain & ~masks[rows]).any() and not (masks[rows] & ~possible).any()
        num_different += int(different.sum())
        num_pixels += masks.numel()
    assert num_different <= 5e-6 * num_pixels


@each_place
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("r50_train_all", {"mask_loss_locations": "all"}),
        ("r50_train_top64", {"mask_loss_locations": "top", "mask_loss_top_per_image": 24}),
        ("r50_sem_train", {"mask_loss_locations": "all"}),
    ],
)
def test_training(device: str, backend: str, name: str, overrides: dict[str, Any]) -> None:
    golden = load_golden(name)
    model = load_recorded(golden, device, **overrides).train()
    images = [torch.from_numpy(golden[f"image_rgb.{index}"]) for index in range(2)]
    targets = [
        {
            "boxes": torch.from_numpy(golden[f"gt_boxes.{index}"]),
            "labels": torch.from_numpy(golden[f"gt_labels.{index}"]),
            "masks": torch.from_numpy(
                np.unpackbits(golden[f"gt_masks_packed.{index}"], axis=-1, count=image.shape[2])
            ).bool(),
        }
        for index, image in enumerate(images)
    ]

    losses = model(images, targets, resize=False)
    recorded = json.loads(str(golden["losses_json"]))
    assert set(losses) == {LOSS_NAMES[key] for key in recorded}
    for key, value in recorded.items():
        assert losses[LOSS_NAMES[key]].item() == pytest.approx(value, rel=1e-5), key

    torch.stack(list(losses.values())).sum().backward()
    parameters = dict(model.named_parameters())
    names = [str(rename_key(str(key), model.config)) for key in golden["grad_names"]]
    assert set(names) == {key for key, parameter in parameters.items() if parameter.requires_grad}
    for key, norm in zip(names, golden["grad_norms"], strict=True):
        gradient = parameters[key].grad
        assert gradient is not None
        assert gradient.double().norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-12), key

    # a forward pass in training mode gives the same locations again: batch statistics do not depend on running ones
    batch, joined = model.training_batch(images, targets, resize=False)
    with torch.no_grad():
        _, chosen = model.losses(batch, joined)
        outputs, _, _ = model.features(batch)
    points = make_locations(outputs.level_sizes, model.config, batch.device).points
    ours = zip(
        chosen.image_indices.tolist(),
        chosen.object_indices.tolist(),
        points[chosen.location_indices].tolist(),
        strict=True,
    )
    theirs = zip(
        *(golden[f"mask_positives.{key}"].tolist() for key in ("im_inds", "gt_inds", "locations")), strict=True
    )
    assert sorted(ours) == sorted(theirs)
