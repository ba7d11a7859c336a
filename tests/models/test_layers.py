"""Backbone, pyramid and head layers against torchvision and by hand."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from condinst.models.backbones import DLA, ResNet
from condinst.models.backbones.frozen_norm import FrozenBatchNorm
from condinst.models.heads import FCOSHead
from condinst.models.heads.layers import NormPerLevel
from condinst.models.layers import DeformableConv
from condinst.models.necks.fpn import FPN, TopLevels
from tests.models.tiny import TINY


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_is_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name).eval()
    ours = ResNet(name, norm="BN", stride_in_1x1=False).eval()
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")})
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for stage in range(4):
            expected = getattr(theirs, f"layer{stage + 1}")(expected)
            torch.testing.assert_close(ours(x)[f"res{stage + 2}"], expected)


@pytest.mark.parametrize(("name", "blocks"), [("resnet34", [3, 4, 6, 3]), ("resnet101", [3, 4, 23, 3])])
def test_depths(name: str, blocks: list[int]) -> None:
    model = ResNet(name, base_channels=8, stride_in_1x1=True)
    assert [len(getattr(model, f"layer{stage}")) for stage in range(1, 5)] == blocks


def test_stride_in_1x1() -> None:
    model = ResNet("resnet50", base_channels=8, stride_in_1x1=True)
    block: Any = model.layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))
    assert model(torch.zeros(1, 3, 64, 64))["res5"].shape == (1, 256, 2, 2)


@pytest.mark.parametrize("freeze_at", [0, 1, 2, 5])
def test_freeze_at(freeze_at: int) -> None:
    model = ResNet("resnet18", base_channels=8, norm="BN", stride_in_1x1=False, freeze_at=freeze_at)
    stages = [model.conv1, model.layer1, model.layer2, model.layer3, model.layer4]
    frozen = [not any(parameter.requires_grad for parameter in stage.parameters()) for stage in stages]
    assert frozen == [True] * freeze_at + [False] * (5 - freeze_at)
    assert isinstance(model.bn1, nn.BatchNorm2d) == (freeze_at == 0)


@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "SyncBN"])
def test_dla(norm: str) -> None:
    model = DLA(base_channels=16, norm=norm)
    features = model(torch.randn(1, 3, 64, 96))
    shapes = {"res2": (16, 16, 24), "res3": (32, 8, 12), "res4": (64, 4, 6), "res5": (128, 2, 3)}
    assert {name: tuple(feature.shape[1:]) for name, feature in features.items()} == shapes
    assert {name: shape[0] for name, shape in shapes.items()} == model.out_channels
    sum(feature.sum() for feature in features.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    # 3 convolutions, then two trees of 6 and two of 11, each with a norm; a frozen norm has no parameters
    assert len(list(model.parameters())) == (3 + 2 * 6 + 2 * 11) * (1 if norm == "FrozenBN" else 3)


@pytest.mark.parametrize("norm", ["GN", "NaiveGN", "BN", "SyncBN", "none"])
def test_head_shapes(norm: str) -> None:
    config = TINY.replace(head_norm=norm, num_share_convs=1, head_deformable=True)
    head = FCOSHead(config)
    sizes = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    outputs = head([torch.randn(2, 64, *size) for size in sizes])
    num_locations = sum(height * width for height, width in sizes)
    assert outputs.class_logits.shape == (2, num_locations, 3)
    assert outputs.box_distances.shape == (2, num_locations, 4)
    assert outputs.centerness_logits.shape == (2, num_locations)
    assert outputs.mask_head_params.shape == (2, num_locations, 169)
    assert outputs.level_sizes == sizes


def test_norm_per_level_keeps_levels_apart() -> None:
    head = FCOSHead(TINY.replace(head_norm="BN", num_cls_convs=1)).train()
    norm = head.cls_tower[1]
    assert isinstance(norm, NormPerLevel)
    features = [torch.full((2, 64, 4, 4), float(level)) + torch.randn(2, 64, 4, 4) for level in range(5)]
    head(features)
    means = torch.stack([level.running_mean for level in norm])  # type: ignore[misc]
    assert len(means.unique(dim=0)) == 5


def test_scale_comes_before_the_relu() -> None:
    head = FCOSHead(TINY)
    features = [torch.randn(1, 64, 2, 2) for _ in range(5)]
    nn.init.constant_(head.bbox_pred.bias, 1.0)  # type: ignore[arg-type]
    before = head(features).box_distances[:, :4]
    nn.init.constant_(head.scales[0], -1.0)
    after = head(features).box_distances[:, :4]
    assert before.min() > 0 and not after.any()


def test_deformable_conv_without_offsets_is_half_a_convolution() -> None:
    layer = DeformableConv(4, 5)
    x = torch.randn(1, 4, 6, 7)
    # zero offsets, and a modulation of sigmoid(0)
    expected = nn.functional.conv2d(x, layer.weight * 0.5, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_deformable_conv_samples_where_its_offsets_say(stride: int) -> None:
    torch.manual_seed(0)
    layer = DeformableConv(4, 5, stride=stride, bias=False)
    rows, columns = torch.randint(-2, 3, (2, 9)).tolist()
    factors = torch.rand(9)
    pairs = torch.tensor([rows, columns], dtype=torch.float32).T.flatten()
    layer.offset.bias = nn.Parameter(torch.cat([pairs, factors.logit()]))
    x = torch.randn(2, 4, 9, 11)
    padded = nn.functional.pad(x, (4, 4, 4, 4))
    expected = torch.zeros(())
    for tap in range(9):
        top, left = 3 + tap // 3 + rows[tap], 3 + tap % 3 + columns[tap]
        sampled = padded[:, :, top : top + 9 : stride, left : left + 11 : stride]
        weight = layer.weight[:, :, tap // 3, tap % 3] * factors[tap]
        expected = expected + torch.einsum("oi,bihw->bohw", weight, sampled)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_deformable_blocks() -> None:
    model = ResNet("resnet50", base_channels=8, stride_in_1x1=False, freeze_at=2, deformable=("res2.1", "res4"))
    blocks = {key for key, module in model.named_modules() if isinstance(module, DeformableConv)}
    assert blocks == {"layer1.1.conv2", *(f"layer3.{index}.conv2" for index in range(6))}
    strided: Any = model.layer3[0]
    assert strided.conv2.stride == strided.conv2.offset.stride == (2, 2) and strided.conv2.bias is None
    assert not strided.conv2.offset.weight.any() and strided.conv2.weight.any()
    features = model(torch.randn(1, 3, 64, 96))
    assert features["res5"].shape == (1, 256, 2, 3)
    features["res5"].sum().backward()
    assert strided.conv2.offset.weight.grad.any() and strided.conv2.offset.bias.grad[18:].all()
    with pytest.raises(ValueError, match="backbone_deformable: expected stages .* of resnet50, got res3.4, stem"):
        ResNet("resnet50", base_channels=8, stride_in_1x1=True, deformable=("res3.4", "res5", "stem"))


def test_top_levels_of_one_cell() -> None:
    """Their bfloat16 gradients once held whatever was in the memory before."""
    torch.manual_seed(0)
    top = TopLevels(64)
    feature = torch.randn(2, 64, 1, 1)
    p6 = top.p6(feature)
    levels = top(feature)
    torch.testing.assert_close(levels, (p6, top.p7(p6.relu())))

    torch.stack(levels).sum().backward()
    expected = cast(torch.Tensor, top.p7.weight.grad).clone()
    for _ in range(20):
        top.zero_grad()
        garbage = [torch.full((size,), torch.nan) for size in (100, 1000, 10_000, 100_000) for _ in range(20)]
        del garbage
        with torch.autocast("cpu", torch.bfloat16):
            levels = top(feature)
        torch.stack(levels).float().sum().backward()
        # bfloat16 keeps 8 bits of each of the factors
        torch.testing.assert_close(top.p7.weight.grad, expected, rtol=0.02, atol=0.02)


def test_the_pyramid_is_that_of_torchvision() -> None:
    torch.manual_seed(0)
    pyramid = FPN([8, 16, 32], 12, top_levels=2)
    expected = FeaturePyramidNetwork([8, 16, 32], 12, extra_blocks=LastLevelP6P7(12, 12))
    expected.load_state_dict(pyramid.state_dict())
    stages = OrderedDict(p3=torch.randn(2, 8, 8, 12), p4=torch.randn(2, 16, 4, 6), p5=torch.randn(2, 32, 2, 3))
    levels, expected_levels = pyramid(stages), expected(stages)
    assert list(levels) == list(expected_levels) == ["p3", "p4", "p5", "p6", "p7"]
    assert all(torch.equal(levels[name], expected_levels[name]) for name in levels)


def test_the_frozen_norm_is_that_of_torchvision() -> None:
    torch.manual_seed(0)
    norm, expected = FrozenBatchNorm(8), FrozenBatchNorm2d(8)
    state = {name: torch.rand_like(value) + 0.5 for name, value in norm.state_dict().items()}
    norm.load_state_dict({**state, "num_batches_tracked": torch.tensor(3)})
    expected.load_state_dict(dict(state))
    x = torch.randn(2, 8, 5, 7, requires_grad=True)
    assert torch.equal(norm(x), expected(x))
    torch.testing.assert_close(norm(x.detach()), expected(x.detach()), rtol=1e-6, atol=1e-6)
