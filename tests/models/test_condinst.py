"""The model as its users call it: eval and training conventions, sizes, empty cases and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from condinst import CondInst, load, save_checkpoint
from condinst.data.rles import encode_masks
from condinst.models.detections import Detections
from condinst.models.losses import MaskLocations
from condinst.ops import aligned_bilinear
from tests.models.tiny import make_image, make_model, make_target

LOSSES = {"loss_cls", "loss_box", "loss_centerness", "loss_mask"}


def check_detections(result: dict[str, torch.Tensor], height: int, width: int, num_classes: int = 3) -> None:
    """The promises of `CondInst.forward` in eval mode."""
    num_detections = len(result["scores"])
    assert result["boxes"].shape == (num_detections, 4) and result["boxes"].dtype == torch.float32
    assert result["labels"].dtype == torch.int64 and result["labels"].shape == (num_detections,)
    assert result["masks"].shape == (num_detections, height, width) and result["masks"].dtype == torch.bool
    x1, y1, x2, y2 = result["boxes"].unbind(1)
    assert ((x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height) & (x1 < x2) & (y1 < y2)).all()
    assert ((result["labels"] >= 0) & (result["labels"] < num_classes)).all()
    assert torch.equal(result["scores"], result["scores"].sort(descending=True).values)


def detect(model: CondInst, images: list[torch.Tensor]) -> Detections:
    """What a model detects in images as they are."""
    batch = model.preprocess(images, resize=False)
    with torch.no_grad():
        return model.detect(model.network(batch.pixels), batch)


def choose_mask_locations(
    model: CondInst, images: list[torch.Tensor], targets: list[dict[str, torch.Tensor]]
) -> MaskLocations:
    """The locations that feed the mask loss of a training step."""
    batch = model.preprocess(images, targets)
    assert batch.targets is not None
    return model.detection_loss(model.network(batch.pixels).head, batch.targets)[1]


def test_batch_of_different_sizes() -> None:
    model = make_model()
    sizes = [(50, 80), (120, 30), (64, 64)]
    results = model([make_image(*size) for size in sizes])
    assert len(results) == 3 and all(len(result["scores"]) for result in results)
    for result, size in zip(results, sizes, strict=True):
        check_detections(result, *size)


@pytest.mark.parametrize("resize", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3, 2), (31, 33)])
def test_small_images(size: tuple[int, int], resize: bool) -> None:
    (result,) = make_model()([make_image(*size)], resize=resize)
    check_detections(result, *size)


def test_images_of_one_size_do_not_touch_in_a_batch() -> None:
    model = make_model()
    images = [make_image(64, 64, seed) for seed in range(3)]
    together = model(images)
    for image, result in zip(images, together, strict=True):
        (alone,) = model([image])
        torch.testing.assert_close(result["boxes"], alone["boxes"], rtol=0, atol=1e-3)
        assert (result["masks"] != alone["masks"]).float().mean() < 1e-4


def test_float_images_give_what_bytes_give() -> None:
    model = make_model()
    image = make_image(50, 70)
    for resize in (True, False):
        (from_bytes,), (from_floats,) = model([image], resize=resize), model([image / 255], resize=resize)
        torch.testing.assert_close(from_bytes["boxes"], from_floats["boxes"], rtol=1e-4, atol=1e-3)


def test_output_sizes() -> None:
    model = make_model()
    (own,) = model([make_image(50, 70)])
    (double,) = model([make_image(50, 70)], output_sizes=[(100, 140)])
    check_detections(double, 100, 140)
    torch.testing.assert_close(double["boxes"], own["boxes"] * 2)


def test_no_detections_and_no_images() -> None:
    model = make_model(score_threshold=1.0)
    (result,) = model([make_image(40, 60)])
    assert len(result["scores"]) == 0
    check_detections(result, 40, 60)
    assert model([]) == []


def test_threshold_is_on_the_reported_score() -> None:
    image = make_image(64, 64)
    (everything,) = make_model()([image])
    for threshold in everything["scores"].tolist():
        (above,) = make_model(score_threshold=threshold)([image])
        assert torch.equal(above["scores"], everything["scores"][everything["scores"] > threshold])


def test_threshold_without_centerness() -> None:
    (product,) = make_model(score_threshold=0.08, max_detections=0)([make_image(64, 64)])
    (classes,) = make_model(score_threshold=0.08, max_detections=0, threshold_with_centerness=False)(
        [make_image(64, 64)]
    )
    assert classes["scores"].min() <= 0.08 < product["scores"].min()


def test_max_detections() -> None:
    (capped,) = make_model(max_detections=5)([make_image(64, 64)])
    (all_of_them,) = make_model(max_detections=0)([make_image(64, 64)])
    assert len(capped["scores"]) == 5 < len(all_of_them["scores"])


@pytest.mark.parametrize(
    "overrides",
    [
        {"mask_output_stride": 8},
        {"mask_output_stride": 2},
        {"mask_head_coordinates": "none"},
        {"mask_head_features": False},
        {"mask_head_features": False, "mask_head_coordinates": "absolute", "semantic_loss": True},
        {"mask_head_layers": 2, "mask_head_channels": 4, "mask_feature_channels": 3},
        {"head_norm": "BN"},
        {"head_deformable": True, "num_share_convs": 1},
        {"use_scale": False, "pixel_order": "rgb"},
        {"mask_branch_norm": "none"},
        {"fpn_in_features": ("res2", "res3", "res4", "res5"), "mask_branch_in_features": ("p2", "p3", "p4", "p5")},
        {"fpn_top_levels": 0, "head_in_features": ("p3", "p4", "p5"), "sizes_of_interest": (64, 128)},
        {"box_quality": "iou"},
        {"cls_loss_normalizer": "all"},
        {"cls_loss_normalizer": "moving_fg"},
        {"semantic_loss": True},
        {"backbone": "resnet50", "stride_in_1x1": True, "freeze_at": 2},
        {"nms": "mask"},
        {"nms": "matrix", "matrix_nms_kernel": "linear"},
        {"center_sampling": "box"},
    ],
)
def test_options_train_and_detect(overrides: dict[str, Any]) -> None:
    model = make_model(**overrides)
    (result,) = model([make_image(50, 70)])
    check_detections(result, 50, 70)
    target = make_target(64, 96, [(8, 8, 50, 60), (30, 10, 44, 22)])
    losses = model.train()([make_image(64, 96, 1), make_image(64, 96, 2)], [target, target])
    assert set(losses) == LOSSES | ({"loss_semantic"} if model.config.semantic_loss else set())
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.startswith("head.scales."):  # a level may have no positive
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert model.head.controller.weight.grad is not None and model.head.controller.weight.grad.any()


def test_coordinates_alone(tmp_path: Path) -> None:
    """Table 3: masks are a function of the place alone, and nothing of the mask branch is built, trained or saved."""
    model = make_model(mask_head_features=False, mask_head_layers=1)
    assert list(model.mask_branch.parameters()) == [] and model.head.controller.out_channels == 3
    detections = detect(model, [make_image(64, 96)])
    logits = detections.mask_logits(detections.list_places(0, 20))
    index, locations = detections.location_indices[0, :20], detections.locations
    filters, points, sizes = (
        values[index] for values in (detections.mask_head_params[0], locations.points, locations.sizes_of_interest)
    )
    y, x = torch.meshgrid(torch.arange(8.0) * 8 + 4, torch.arange(12.0) * 8 + 4, indexing="ij")
    for (a, b, c), (px, py), size, mask in zip(filters, points, sizes, logits, strict=True):
        plane = a * (px - x) / size + b * (py - y) / size + c
        torch.testing.assert_close(mask, aligned_bilinear(plane[None], 2)[0], rtol=1e-5, atol=1e-5)

    save_checkpoint(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    (result,), (expected,) = again([make_image(50, 70)]), model([make_image(50, 70)])
    assert again.config == model.config and torch.equal(result["masks"], expected["masks"])

    target = make_target(64, 96, [(8, 8, 50, 60), (30, 10, 44, 22)])
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.train()([make_image(64, 96)], [target])
    assert set(losses) == LOSSES and all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("nms", ["mask", "matrix"])
def test_inference_without_boxes(nms: str, poisoned_memory: None) -> None:
    """Section 4.6: what the box branch predicts does not matter, and no two masks of a class are duplicates."""
    overrides: dict[str, Any] = {"nms": nms, "nms_threshold": 0.5, "max_detections": 0}
    if nms == "matrix":
        overrides["score_threshold"] = 0.05
    model = make_model(**overrides)
    torch.nn.init.constant_(model.head.bbox_pred.weight, torch.nan)
    images = [make_image(50, 70), make_image(64, 64, 1)]
    results = model(images)
    assert all(len(result["scores"]) > 3 for result in results)
    for result, image in zip(results, images, strict=True):
        height, width = image.shape[1:]
        check_detections(result, height, width)
        for box, mask in zip(result["boxes"].tolist(), result["masks"], strict=True):
            rows, columns = torch.nonzero(mask, as_tuple=True)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]

    detections = detect(model, images)
    taken = detections.is_taken
    masks = (detections.mask_logits(taken.flatten().nonzero().squeeze(1)).sigmoid() > 0.5).flatten(1).double()
    labels, indices = detections.labels[taken], detections.image_indices[taken]
    overlaps = masks @ masks.T
    iou = overlaps / (overlaps.diagonal()[:, None] + overlaps.diagonal() - overlaps)
    rivals = (labels[:, None] == labels) & (indices[:, None] == indices)
    assert len(iou) > 6 and (nms == "matrix" or iou.fill_diagonal_(0)[rivals].max() <= 0.5)


def test_the_best_of_each_class_stays_whatever_is_compared() -> None:
    image = make_image(64, 64)
    best = {}
    for nms in ("box", "mask", "matrix"):
        (result,) = make_model(nms=nms)([image])
        best[nms] = [float(result["scores"][result["labels"] == label].amax()) for label in range(3)]
    assert best["box"] == pytest.approx(best["mask"]) and best["box"] == pytest.approx(best["matrix"])


@pytest.mark.parametrize("nms", ["mask", "matrix"])
def test_nothing_is_found_without_boxes(nms: str) -> None:
    (result,) = make_model(nms=nms, score_threshold=1.0)([make_image(40, 60)])
    assert len(result["scores"]) == 0
    check_detections(result, 40, 60)


@pytest.mark.parametrize("semantic", [False, True])
def test_training_without_objects(semantic: bool) -> None:
    model = make_model(semantic_loss=semantic).train()
    images = [make_image(40, 60), make_image(70, 64)]
    for targets in (
        [make_target(40, 60, []), make_target(70, 64, [])],
        [make_target(40, 60, []), make_target(70, 64, [(9, 9, 40, 40)])],
    ):
        losses = model(images, targets)
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        assert all(loss.isfinite() for loss in losses.values())
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_an_object_with_an_empty_mask_changes_nothing() -> None:
    model = make_model(mask_loss_locations="all").train()
    image, target = make_image(64, 96), make_target(64, 96, [(8, 8, 50, 60)])
    more = make_target(64, 96, [(0, 0, 90, 60), (8, 8, 50, 60)])
    more["masks"][0] = False
    more["labels"][1] = target["labels"][0]
    alone, both = model([image], [target]), model([image], [more])
    assert all(torch.equal(alone[key], both[key]) for key in LOSSES)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"mask_loss_locations": "all"}, None),
        ({"mask_loss_locations": "random", "mask_loss_max_locations": 7}, 7),
        ({"mask_loss_locations": "top", "mask_loss_top_per_image": 6}, 6),
    ],
)
def test_mask_loss_locations(overrides: dict[str, Any], expected: int | None) -> None:
    model = make_model(**overrides).train()
    targets = [make_target(64, 96, [(4, 4, 60, 60), (30, 20, 94, 62)])]
    chosen = choose_mask_locations(model, [make_image(64, 96)], targets)
    assert len(chosen.image_indices) == expected if expected else len(chosen.image_indices) > 7
    assert set(chosen.object_indices.tolist()) <= {0, 1}
    if overrides["mask_loss_locations"] == "top":
        assert chosen.object_indices.bincount().tolist() == [3, 3]  # half of 6 for each


def test_top_locations_when_only_the_last_image_has_objects() -> None:
    model = make_model(mask_loss_locations="top", mask_loss_top_per_image=1).train()
    targets = [make_target(64, 64, []), make_target(64, 64, []), make_target(64, 64, [(20, 20, 44, 44)])]
    chosen = choose_mask_locations(model, [make_image(64, 64, seed) for seed in range(3)], targets)
    assert chosen.image_indices.tolist() == [2]


def test_training_resizes_images_and_targets() -> None:
    """To the size of inference, whatever sizes `TrainingTransform` draws from."""
    model = make_model(min_size_test=96, max_size_test=200, min_size_train=(32, 40)).train()
    batch = model.preprocess([make_image(48, 60)], [make_target(48, 60, [(10, 10, 30, 40)])])
    assert batch.pixels.shape == (1, 3, 96, 128) and batch.network_sizes == [(96, 120)]
    assert batch.targets is not None and int(batch.targets.masks.sum()) == 10 * 15
    assert batch.targets.boxes[0].tolist() == [20.0, 20.0, 60.0, 80.0]


def test_targets_as_run_lengths_and_weights_of_losses() -> None:
    image, target = make_image(64, 64), make_target(64, 64, [(20, 20, 44, 44), (3, 5, 30, 60)])
    encoded = {"boxes": target["boxes"], "labels": target["labels"], "rles": encode_masks(target["masks"])}
    losses = []
    for given, weight in ((target, 1.0), (encoded, 1.0), (encoded, 3.0)):
        model = make_model(mask_loss_locations="all", semantic_loss=True, mask_loss_weight=weight)
        losses.append(model.train()([image], [given], resize=False))
    assert losses[0] == losses[1]
    assert losses[2]["loss_mask"] == 3 * losses[0]["loss_mask"]
    assert losses[2]["loss_semantic"] == losses[0]["loss_semantic"]
    with pytest.raises(ValueError, match="'rles' are for resize=False"):
        model([image], [encoded])
    with pytest.raises(ValueError, match=r"targets\[0\]\['rles'\]: expected a list of 2 run lengths"):
        model([image], [encoded | {"rles": []}], resize=False)
    with pytest.raises(TypeError, match=r"targets\[0\]\['rles'\]: expected dicts of size and counts, got 3"):
        model([image], [encoded | {"rles": [3, 4]}], resize=False)
    with pytest.raises(ValueError, match=r"targets\[0\]\['rles'\]: expected masks of the image's size .*, got \[3\]"):
        model([image], [encoded | {"rles": [{"size": [3], "counts": b""}] * 2}], resize=False)
    with pytest.raises(ValueError, match=r"masks of the image's size \[64, 60\]"):
        model([image[:, :, :60]], [encoded], resize=False)


def test_weights_do_not_change_in_eval() -> None:
    model = make_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model([make_image(50, 50)])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


nan_image = torch.rand(3, 20, 20)
nan_image[0, 5, 5] = torch.nan


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(1, 3, 20, 20), TypeError, r"images: expected a list of \[3, H, W\] tensors, got Tensor"),
        (["photo.jpg"], TypeError, r"images\[0\]: expected a tensor, got str"),
        ([torch.zeros(20, 20)], ValueError, r"images\[0\]: expected shape \[3, H, W\].*got \[20, 20\]"),
        ([torch.zeros(4, 20, 20)], ValueError, r"got \[4, 20, 20\]"),
        ([torch.zeros(3, 0, 20)], ValueError, r"at least 1, got \[3, 0, 20\]"),
        (
            [torch.zeros(3, 20, 20, dtype=torch.int64)],
            TypeError,
            "expected dtype uint8 or floating point, got torch.int64",
        ),
        ([make_image(9, 9), torch.full((3, 9, 9), 255.0)], ValueError, r"images\[1\]: expected floats in 0..1"),
        ([nan_image], ValueError, "contains NaN"),
    ],
)
def test_bad_images(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_model()(images)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"boxes": torch.zeros(2, 5)}, ValueError, r"targets\[0\]\['boxes'\]: expected shape \[2, 4\], got \[2, 5\]"),
        ({"labels": torch.tensor([0])}, ValueError, r"targets\[0\]\['labels'\]: expected shape \[2\], got \[1\]"),
        ({"labels": torch.tensor([0, 3])}, ValueError, "expected 0 .. 2, got 0 .. 3"),
        ({"labels": torch.tensor([0.0, 1.0])}, TypeError, "expected int64"),
        (
            {"masks": torch.zeros(2, 9, 9, dtype=torch.bool)},
            ValueError,
            r"expected shape \[2, 64, 96\], got \[2, 9, 9\]",
        ),
        ({"masks": torch.zeros(2, 64, 96)}, TypeError, "expected bool or uint8"),
        ({"boxes": torch.full((2, 4), torch.nan)}, ValueError, "expected finite numbers"),
        ({"masks": None}, ValueError, "expected a tensor under 'masks'"),
    ],
)
def test_bad_targets(change: dict[str, Any], error: type[Exception], message: str) -> None:
    target: dict[str, Any] = make_target(64, 96, [(8, 8, 50, 60), (30, 10, 44, 22)]) | change
    with pytest.raises(error, match=message):
        make_model().train()([make_image(64, 96)], [target])


def test_bad_calls() -> None:
    model: CondInst = make_model()
    image = make_image(20, 20)
    with pytest.raises(ValueError, match=r"output_sizes: expected one per image \(1\), got 2"):
        model([image], output_sizes=[(4, 4), (5, 5)])
    model.train()
    with pytest.raises(ValueError, match="targets: expected one dict per image in training mode, got None"):
        model([image])
    with pytest.raises(ValueError, match=r"targets: expected one dict per image \(1\), got 0"):
        model([image], [])
    with pytest.raises(TypeError, match=r"targets\[0\]: expected a dict, got NoneType"):
        model([image], [None])
    with pytest.raises(ValueError, match="output_sizes: only for inference"):
        model([image], [make_target(20, 20, [])], output_sizes=[(4, 4)])
