"""Panoptic models: the semantic branch, its loss, and what comes out of `model(images, panoptic=True)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from condinst import CondInst, load, save_checkpoint
from condinst.models.checkpoints import fine_tune
from condinst.models.heads import SemanticBranch
from condinst.models.losses import panoptic_loss
from condinst.models.panoptic import name_segments
from condinst.models.preprocessing import Targets
from condinst.ops import PanopticMaps
from tests.models.tiny import TINY, make_image, make_semantic, make_target, tiny_panoptic_config

NUM_THINGS, NUM_STUFF = 3, 3


def make_panoptic_model(**overrides: Any) -> CondInst:
    """A tiny model whose detections count, whatever their score."""
    torch.manual_seed(0)
    model = CondInst(tiny_panoptic_config(**{"panoptic_score_threshold": 0.0, "max_detections": 5} | overrides))
    torch.nn.init.constant_(model.head.bbox_pred.bias, 2.0)  # type: ignore[arg-type]
    return model.eval()


def make_panoptic_target(height: int, width: int) -> dict[str, Tensor]:
    return {
        **make_target(height, width, [(4, 6, 40, 40), (20, 10, 60, 48)]),
        "semantic": make_semantic(height, width, NUM_THINGS, NUM_STUFF),
    }


def only_labels(labels: Tensor) -> Targets:
    nothing = torch.zeros(0)
    return Targets(nothing, nothing, nothing, nothing, nothing, None, None, labels)


# ---- the branch


@pytest.mark.parametrize(("separate", "channels"), [(True, NUM_THINGS + NUM_STUFF), (False, 1 + NUM_STUFF)])
def test_branch(separate: bool, channels: int) -> None:
    config = tiny_panoptic_config(separate_thing_channels=separate)
    branch = SemanticBranch(config)
    levels = [torch.randn(2, 64, 32 // 2**step, 48 // 2**step) for step in range(4)]
    assert branch(levels).shape == (2, channels, 32, 48)
    # one 3x3 block for P2 and P3, two for P4, three for P5 (Panoptic-FPN, Fig. 3)
    kinds = [[type(block) for block in level.children()] for level in branch.levels]
    block, up = [torch.nn.Sequential], [torch.nn.Sequential, torch.nn.Upsample]
    assert kinds == [block, up, 2 * up, 3 * up]
    assert branch.logits.in_channels == 4 * config.panoptic_channels


def test_cells_of_all_levels_are_where_their_pixels_are() -> None:
    """A ramp over the pixels, seen by each level at `stride // 2 + i * stride`, comes out as itself off the edges."""
    for step in (1, 2, 3):
        stride = 4 * 2**step
        ramp = (stride // 2 + torch.arange(16.0) * stride).expand(1, 1, 16, 16)
        for _ in range(step):
            ramp = torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)(ramp)
        inner = slice(2**step, -(2**step))
        pixels = 2 + 4 * torch.arange(16.0 * 2**step)
        torch.testing.assert_close(ramp[0, 0, 0, inner], pixels[inner])


# ---- the loss


def test_loss_is_the_mean_cross_entropy_of_labelled_cells() -> None:
    logits = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.randint(-1, 6, (2, 5, 7), generator=torch.Generator().manual_seed(1))
    loss = panoptic_loss(logits, only_labels(labels), tiny_panoptic_config())
    known = labels >= 0
    assert 0 < int(known.sum()) < known.numel()
    by_hand = -logits.log_softmax(1).movedim(1, -1)[known].gather(1, labels[known][:, None]).mean()
    torch.testing.assert_close(loss, by_hand)


def test_things_as_one_class() -> None:
    """Labels 0, 1, 2 are channel 0, stuff 3, 4, 5 are channels 1, 2, 3, void is none."""
    logits = torch.randn(1, 4, 1, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[-1, 0, 1, 2, 3, 4, 5]]])
    loss = panoptic_loss(logits, only_labels(labels), tiny_panoptic_config(separate_thing_channels=False))
    channels = torch.tensor([[[0, 0, 0, 1, 2, 3]]])
    torch.testing.assert_close(loss, F.cross_entropy(logits[..., 1:], channels))


def test_only_void_has_no_loss_and_no_gradient() -> None:
    logits = torch.randn(1, 6, 4, 4, requires_grad=True)
    loss = panoptic_loss(logits, only_labels(torch.full((1, 4, 4), -1)), tiny_panoptic_config())
    loss.backward()
    assert loss == 0 and logits.grad is not None and not logits.grad.any()


def test_labels_are_sampled_where_the_cells_are() -> None:
    model = CondInst(tiny_panoptic_config()).train()
    labels = torch.randint(-1, 6, (50, 70), generator=torch.Generator().manual_seed(0))
    target = {**make_target(50, 70, [(4, 6, 40, 40)]), "semantic": labels}
    batch = model.preprocess([make_image(50, 70)], [target], resize=False)
    joined = batch.targets
    assert batch.pixels.shape[2:] == (64, 96) and joined is not None and joined.semantic_labels is not None
    assert joined.semantic_labels.shape == (1, 16, 24)
    assert torch.equal(joined.semantic_labels[0, :12, :17], labels[2::4, 2::4])
    assert (joined.semantic_labels[0, 12:] == -1).all() and (joined.semantic_labels[0, :, 17:] == -1).all()


def test_mu_is_a_half() -> None:
    images, targets = [make_image(64, 64)], [make_panoptic_target(64, 64)]
    losses = []
    for weight in (0.5, 1.0):
        torch.manual_seed(0)
        losses.append(CondInst(tiny_panoptic_config(panoptic_loss_weight=weight)).train()(images, targets))
    assert tiny_panoptic_config().panoptic_loss_weight == 0.5
    torch.testing.assert_close(2 * losses[0]["loss_panoptic"], losses[1]["loss_panoptic"])


def test_labels_are_resized_with_the_image() -> None:
    config = tiny_panoptic_config(min_size_test=32, max_size_test=64)
    target = {**make_target(64, 64, [(4, 6, 40, 40)]), "semantic": torch.arange(64).expand(64, 64) // 16}
    joined = CondInst(config).train().preprocess([make_image(64, 64)], [target]).targets
    assert joined is not None and joined.semantic_labels is not None
    assert joined.semantic_labels[0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_training_learns_a_map() -> None:
    """A few steps on one image bring the semantic loss down to a fraction: gradients reach all of the branch."""
    torch.manual_seed(0)
    model = CondInst(tiny_panoptic_config()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    course = []
    for _ in range(15):
        losses = model([make_image(64, 64)], [make_panoptic_target(64, 64)])
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        course.append(float(losses["loss_panoptic"].detach()))
    assert course[-1] < 0.5 * course[0], course


# ---- results


def check_panoptic(result: dict[str, Any], size: tuple[int, int]) -> None:
    ids, infos = result["panoptic"]["ids"], result["panoptic"]["segments_info"]
    assert ids.shape == size and ids.dtype == torch.int32
    assert [info["id"] for info in infos] == list(range(1, len(infos) + 1))
    counts = torch.bincount(ids.flatten().long(), minlength=len(infos) + 1)
    assert counts[1:].tolist() == [info["area"] for info in infos] and (counts[1:] > 0).all()
    things = [info for info in infos if info["isthing"]]
    assert infos[: len(things)] == things and all("score" in info for info in things)
    assert [info["score"] for info in things] == sorted((info["score"] for info in things), reverse=True)
    assert all(0 <= info["label"] < NUM_THINGS for info in things)
    stuff = [info["label"] for info in infos[len(things) :]]
    assert stuff == sorted(set(stuff)) and all(NUM_THINGS <= label < NUM_THINGS + NUM_STUFF for label in stuff)


def test_images_of_a_batch_have_their_own_maps() -> None:
    model = make_panoptic_model()
    sizes = [(50, 80), (120, 30), (64, 64)]
    images = [make_image(*size, seed) for seed, size in enumerate(sizes)]
    results = model(images, panoptic=True)
    for result, size in zip(results, sizes, strict=True):
        check_panoptic(result, size)
        assert len({info["isthing"] for info in result["panoptic"]["segments_info"]}) == 2


def test_images_of_one_size_do_not_touch_in_a_batch() -> None:
    model = make_panoptic_model()
    images = [make_image(64, 64, seed) for seed in range(3)]
    for image, result in zip(images, model(images, panoptic=True), strict=True):
        (alone,) = model([image], panoptic=True)
        assert (alone["panoptic"]["ids"] != result["panoptic"]["ids"]).float().mean() < 1e-3


def test_the_first_segment_is_the_mask_of_the_best_instance() -> None:
    model = make_panoptic_model()
    (result,) = model([make_image(50, 80)], panoptic=True)
    best = int(result["masks"].flatten(1).any(1).int().argmax())  # an empty mask is no segment
    first = result["panoptic"]["segments_info"][0]
    assert first["score"] == float(result["scores"][best]) and first["label"] == int(result["labels"][best])
    assert torch.equal(result["panoptic"]["ids"] == 1, result["masks"][best])


def test_things_are_among_the_results() -> None:
    """A detection whose box is beside the image is no result, and takes no pixels in the map either."""
    left_out = 0
    for seed in range(6):
        torch.manual_seed(seed)
        model = make_panoptic_model(max_detections=20)
        torch.nn.init.normal_(model.head.bbox_pred.weight, std=0.3)
        image = make_image(40, 70, seed)
        (result,) = model([image], panoptic=True)
        reported = set(zip(result["labels"].tolist(), result["scores"].tolist(), strict=True))
        things = [info for info in result["panoptic"]["segments_info"] if info["isthing"]]
        assert things and {(info["label"], info["score"]) for info in things} <= reported
        left_out += model.config.max_detections > len(reported)
    assert left_out


def test_instances_are_the_same_with_and_without() -> None:
    model = make_panoptic_model()
    (with_map,), (without,) = model([make_image(50, 80)], panoptic=True), model([make_image(50, 80)])
    assert "panoptic" not in without
    assert all(torch.equal(with_map[key], without[key]) for key in ("boxes", "scores", "labels", "masks"))


def test_output_sizes_and_run_lengths() -> None:
    (result,) = make_panoptic_model()([make_image(50, 70)], output_sizes=[(100, 140)], mask_format="rle", panoptic=True)
    check_panoptic(result, (100, 140))


def test_segments_of_the_operator_get_names() -> None:
    """Two images, three instances not sorted by score, of which one was dropped, and two classes of stuff."""
    ids = torch.tensor([[[1, 1, 3, 4], [0, 0, 5, 4]], [[0, 5, 5, 0], [0, 0, 0, 0]]], dtype=torch.int32)
    areas = torch.tensor([2, 0, 1])
    maps = PanopticMaps(ids, areas, torch.tensor([[2, 1], [0, 2]]))
    first, second = name_segments(
        maps,
        torch.tensor([0.6, 0.9, 0.8]),
        torch.tensor([7, 3, 5]),
        torch.tensor([0, 1, 0]),
        output_sizes=[(2, 4), (1, 3)],
        num_classes=10,
    )
    assert first["ids"].tolist() == [[2, 2, 1, 3], [0, 0, 4, 3]]
    assert [(info["id"], info["label"], info["isthing"], info["area"]) for info in first["segments_info"]] == [
        (1, 5, True, 1), (2, 7, True, 2), (3, 10, False, 2), (4, 11, False, 1)
    ]  # fmt: skip
    assert [info.get("score") for info in first["segments_info"]] == pytest.approx([0.8, 0.6, None, None])
    assert second["ids"].tolist() == [[0, 1, 1]]
    assert second["segments_info"] == [{"id": 1, "label": 11, "isthing": False, "area": 2}]


def test_nothing_confident_leaves_stuff() -> None:
    (result,) = make_panoptic_model(panoptic_score_threshold=1.0)([make_image(50, 70)], panoptic=True)
    check_panoptic(result, (50, 70))
    assert result["panoptic"]["segments_info"]
    assert not any(info["isthing"] for info in result["panoptic"]["segments_info"])


def test_stuff_that_is_too_small_is_void() -> None:
    (result,) = make_panoptic_model(panoptic_score_threshold=1.0, stuff_area_limit=10_000)(
        [make_image(50, 70)], panoptic=True
    )
    assert not result["panoptic"]["segments_info"] and not result["panoptic"]["ids"].any()


@pytest.mark.parametrize("separate", [True, False])
def test_without_stuff(separate: bool) -> None:
    model = make_panoptic_model(num_stuff_classes=0, stuff_names=(), separate_thing_channels=separate)
    (result,) = model([make_image(50, 70)], panoptic=True)
    check_panoptic(result, (50, 70))
    assert all(info["isthing"] for info in result["panoptic"]["segments_info"])


@pytest.mark.parametrize("nms", ["mask", "matrix"])
def test_without_boxes(nms: str) -> None:
    (result,) = make_panoptic_model(nms=nms)([make_image(50, 80)], panoptic=True)
    check_panoptic(result, (50, 80))


# ---- weights


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = make_panoptic_model()
    save_checkpoint(model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    (one,), (other,) = (each([make_image(50, 80)], panoptic=True) for each in (model, loaded))
    assert torch.equal(one["panoptic"]["ids"], other["panoptic"]["ids"])
    # as an instance model
    instances = load(tmp_path / "model.safetensors", panoptic=False)
    assert instances.semantic_branch is None
    assert torch.equal(instances([make_image(50, 80)])[0]["masks"], one["masks"])
    # P2 is there, and nothing reads it: whatever is to be trained gets a gradient
    losses = instances.train()([make_image(64, 64)], [make_panoptic_target(64, 64)])
    torch.stack(list(losses.values())).sum().backward()
    without = {name for name, one in instances.named_parameters() if one.requires_grad and one.grad is None}
    frozen = {name for name, one in instances.named_parameters() if not one.requires_grad}
    assert not without
    assert {name[: len("neck.inner_blocks.0")] for name in frozen} == {"neck.inner_blocks.0", "neck.layer_blocks.0"}


def test_an_instance_model_becomes_panoptic(tmp_path: Path) -> None:
    """Its pyramid gets a level P2; all else is kept."""
    torch.manual_seed(0)
    start = CondInst(TINY)
    save_checkpoint(start, tmp_path / "instances.safetensors")
    torch.manual_seed(1)
    fields: dict[str, Any] = {"panoptic": True, "num_stuff_classes": 3, "panoptic_channels": 64}
    model = fine_tune(tmp_path / "instances.safetensors", fpn_in_features=("res2", *TINY.fpn_in_features), **fields)
    old, new = start.state_dict(), model.state_dict()
    for key, value in old.items():
        name, _, rest = key.partition("_blocks.")
        if name in ("neck.inner", "neck.layer"):
            level, _, rest = rest.partition(".")
            key = f"{name}_blocks.{int(level) + 1}.{rest}"
        assert torch.equal(new[key], value), key
    fresh = {key for key in new if key.startswith(("semantic_branch.", "neck.inner_blocks.0.", "neck.layer_blocks.0."))}
    assert len(new) == len(old) + len(fresh)
    assert model([make_image(64, 64)], [make_panoptic_target(64, 64)])["loss_panoptic"] > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"num_stuff_classes": 1},
        {"num_classes": 4, "num_stuff_classes": 2},  # as many channels as before, with other meanings
        {"separate_thing_channels": False, "num_stuff_classes": 5},
    ],
)
def test_other_classes_start_anew(tmp_path: Path, fields: dict[str, Any]) -> None:
    start = make_panoptic_model()
    save_checkpoint(start, tmp_path / "model.safetensors")
    torch.manual_seed(1)
    model = fine_tune(tmp_path / "model.safetensors", **fields)
    assert model.semantic_branch is not None and start.semantic_branch is not None
    logits = [branch.logits.weight for branch in (model.semantic_branch, start.semantic_branch)]
    assert logits[0].shape != logits[1].shape or not torch.equal(*logits)
    assert model.config.classes.stuff_names == ()
    first = [branch.levels[3][0][0].weight for branch in (model.semantic_branch, start.semantic_branch)]  # type: ignore[index]
    assert torch.equal(*first)


def test_names_and_ids_of_all_labels() -> None:
    config = tiny_panoptic_config(category_ids=(1, 2, 5), stuff_category_ids=(7, 8, 9))
    assert config.classes.panoptic_names == ("disc", "square", "bar", "sky", "sea", "sand")
    assert config.classes.panoptic_category_ids == (1, 2, 5, 7, 8, 9)
    other = config.replace(num_stuff_classes=2).classes  # whose stuff has neither
    assert other.class_names and other.panoptic_names == ("disc", "square", "bar", "3", "4")
    assert other.panoptic_category_ids == (1, 2, 3, 4, 5)


# ---- bad input


def test_a_model_without_the_branch() -> None:
    with pytest.raises(ValueError, match="panoptic: expected a model with a semantic branch, and tiny has none"):
        CondInst(TINY).eval()([make_image(50, 70)], panoptic=True)


@pytest.mark.parametrize(
    ("semantic", "kind", "message"),
    [
        (None, ValueError, r"targets\[0\]\['semantic'\]: expected the panoptic label of each pixel, got NoneType"),
        (torch.zeros(64, 60, dtype=torch.int16), ValueError, r"expected shape \[64, 64\].*got \[64, 60\]"),
        (torch.zeros(64, 64), TypeError, "expected integers, got torch.float32"),
        (torch.full((64, 64), 6), ValueError, r"expected -1 .. 5, got 6 .. 6"),
        (torch.full((64, 64), -2), ValueError, r"expected -1 .. 5, got -2 .. -2"),
    ],
)
def test_bad_targets(semantic: Any, kind: type[Exception], message: str) -> None:
    target = {**make_panoptic_target(64, 64), "semantic": semantic}
    with pytest.raises(kind, match=message):
        CondInst(tiny_panoptic_config()).train()([make_image(64, 64)], [target])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stuff_names": ("sky",)}, "stuff_names: expected 3 .num_stuff_classes., got 1"),
        ({"stuff_category_ids": (1, 2)}, "stuff_category_ids: expected 3 .num_stuff_classes., got 2"),
        ({"fpn_in_features": ("res3", "res4", "res5")}, "panoptic_in_features: expected levels of"),
        ({"panoptic_in_features": ("p3", "p2")}, "panoptic_in_features: expected levels of .*, finest first"),
        ({"panoptic_channels": 40}, "panoptic_channels: expected a multiple of 32"),
        ({"panoptic_things": "some"}, "panoptic_things: expected one of each, one"),  # the old name
        ({"panoptic_score_threshold": 1.5}, "panoptic_score_threshold: expected a number in 0..1"),
        ({"panoptic_loss_weight": -1.0}, "panoptic_loss_weight: expected a number of at least 0"),
        ({"panoptic_in_features": ("p2", "p6")}, "coarsest stride of the semantic branch"),
        ({"stuff_area_limit": -1}, "stuff_area_limit: expected at least 0"),
    ],
)
def test_bad_config(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_panoptic_config(**fields)
