"""The BiFPN against a slow computation from AdelaiDet's rules, and models with it in training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from condinst.models.necks import BiFPN
from condinst.models.necks.bifpn import bifpn_nodes, node_name
from tests.goldens.recipe import FOLDER
from tests.models.tiny import make_image, make_model, make_target

# numerics 1.14: level and inputs of each node; 0 to 4 are P3 to P7, the others nodes in this order
NODES = [
    (3, [3, 4]),
    (2, [2, 5]),
    (1, [1, 6]),
    (0, [0, 7]),
    (1, [1, 7, 8]),
    (2, [2, 6, 9]),
    (3, [3, 5, 10]),
    (4, [4, 11]),
]


def randomised(neck: BiFPN) -> BiFPN:
    """All weights, statistics and fusion weights (some of them negative) at random."""
    for name, value in neck.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(value, 0.5, 2)
        elif value.is_floating_point() and value.dim() == 1:
            nn.init.normal_(value, 0.3)
    return neck


def conv_norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A convolution that keeps the size, and a norm with the running statistics."""
    weight, bias = state[f"{name}.0.weight"], state.get(f"{name}.0.bias")
    y = F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
    scale = state[f"{name}.1.weight"] / (state[f"{name}.1.running_var"] + 1e-5).sqrt()
    shift = state[f"{name}.1.bias"] - state[f"{name}.1.running_mean"] * scale
    return y * scale[:, None, None] + shift[:, None, None]


def expected_pyramid(state: dict[str, Tensor], stages: list[Tensor], num_repeats: int) -> list[Tensor]:
    p6 = F.max_pool2d(conv_norm(state, "reduction", stages[2]), 3, 2, 1)
    levels = [*stages, p6, F.max_pool2d(p6, 3, 2, 1)]
    for repeat in range(num_repeats):
        prefix = f"repeats.{repeat}."
        if repeat == 0:
            levels[:3] = [conv_norm(state, f"{prefix}laterals.{i}", levels[i]) for i in range(3)]
        features, at_level = list(levels), list(range(5))
        for level, inputs in NODES:
            name = f"f{level}_" + "_".join(str(index) for index in inputs)
            weights = state[f"{prefix}weights.{name}"].clamp(min=0)
            total = torch.zeros(levels[level].shape)
            for weight, index in zip(weights, inputs, strict=True):
                x = features[index]
                if at_level[index] < level:
                    x = F.max_pool2d(x, 3, 2, 1)
                elif at_level[index] > level:
                    x = F.interpolate(x, size=levels[level].shape[2:], mode="nearest")
                total += weight / (weights.sum() + 1e-4) * x
            features.append(conv_norm(state, f"{prefix}outputs.{name}", total * torch.sigmoid(total)))
            at_level.append(level)
        levels = [features[max(i for i, own in enumerate(at_level) if own == level)] for level in range(5)]
    return levels


@pytest.mark.parametrize("sizes", [[(13, 17), (7, 9), (4, 5)], [(8, 12), (4, 6), (2, 3)], [(8, 4), (4, 2), (2, 1)]])
@pytest.mark.parametrize("gradient", [False, True])
def test_bifpn(sizes: list[tuple[int, int]], gradient: bool) -> None:
    """With P6 and P7 of odd sides, and of a single row, column and cell."""
    torch.manual_seed(0)
    neck = randomised(BiFPN([12, 24, 40], 16, 2, num_repeats=2, norm="SyncBN")).eval()
    stages = [torch.randn(2, channels, *size) for channels, size in zip((12, 24, 40), sizes, strict=True)]
    expected = expected_pyramid(neck.state_dict(), stages, 2)
    with torch.set_grad_enabled(gradient):
        levels = neck(dict(zip(("p3", "p4", "p5"), stages, strict=True)))
    assert list(levels) == ["p3", "p4", "p5", "p6", "p7"]
    for level, other in zip(levels.values(), expected, strict=True):
        assert level.abs().max() > 0.5
        torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-5)


def test_both_forms_of_the_sum_give_the_same_bits() -> None:
    torch.manual_seed(0)
    neck = randomised(BiFPN([12, 16, 40], 16, 2, num_repeats=3, norm="BN")).eval()
    stages = {
        f"p{3 + index}": torch.randn(1, channels, 24 >> index, 40 >> index)
        for index, channels in enumerate((12, 16, 40))
    }
    with torch.no_grad():
        without = neck(stages)
    for name, level in neck(stages).items():
        assert torch.equal(level, without[name])


@pytest.mark.parametrize("keys", ["MS_R_50_BiFPN_1x.tsv", "BiFPN_R50_mask_p2.tsv"])
def test_nodes_are_adelaidets(keys: str) -> None:
    prefix = "backbone.repeated_bifpn.5.weights_"
    lines = (FOLDER / keys).read_text().splitlines()
    names = [line.split("\t")[0].removeprefix(prefix) for line in lines if line.startswith(prefix)]
    nodes = bifpn_nodes(int(names[-1][1]) + 1)
    assert [node_name(level, inputs) for level, inputs in nodes] == names
    assert len(names) == 10 or nodes == NODES


def test_nodes_of_few_levels() -> None:
    assert bifpn_nodes(3) == [(1, [1, 2]), (0, [0, 3]), (1, [1, 3, 4]), (2, [2, 5])]
    assert bifpn_nodes(2) == [(0, [0, 1]), (1, [1, 2])]


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {
            "neck_norm": "BN",
            "fpn_in_features": ("res2", "res3", "res4", "res5"),
            "mask_branch_in_features": ("p2", "p3"),
        },
        {"neck_norm": "FrozenBN", "fpn_top_levels": 0, "head_in_features": ("p3", "p4", "p5"), "semantic_loss": True},
        {"backbone": "resnet50", "backbone_deformable": ("res3", "res4.0", "res4.3", "res5"), "fpn_channels": 160},
        {"neck": "fpn", "backbone_deformable": ("res3.1", "res5")},
    ],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_options_train_and_detect(overrides: dict[str, Any], precision: str) -> None:
    if overrides.get("fpn_top_levels") == 0:
        overrides = overrides | {"sizes_of_interest": (64, 128)}
    model = make_model(**{"neck": "bifpn", "bifpn_repeats": 2} | overrides)
    images = [make_image(64, 96, 1), make_image(80, 50, 2)]
    targets = [make_target(64, 96, [(8, 8, 50, 60), (30, 10, 44, 22)]), make_target(80, 50, [(5, 20, 40, 70)])]
    for result, size in zip(model(images), [(64, 96), (80, 50)], strict=True):
        assert len(result["scores"]) and result["masks"].shape[1:] == size

    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        losses = model.train()(images, targets)
    assert all(loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # a level may have no positive; a bias before a norm, and offsets in bfloat16, may come to nothing
        assert parameter.grad.any() or "scales" in name or "bias" in name or precision == "bfloat16", name
