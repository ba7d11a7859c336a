"""MMDetection's checkpoints, against a rebuild of the rules of its CondInst (`condinst_head.py` at 93e3f28).

test_goldens.py has outputs of MMDetection itself, for ResNet-50 with the values of its config. The rebuild is for other
architectures, and for the score threshold, which decides nothing there.
"""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import deform_conv2d, nms

import condinst
from condinst import CheckpointError, CondInst, cli
from condinst.data.images import read_image
from condinst.models.checkpoints.errors import check_keys
from condinst.models.checkpoints.mmdetection import convert_state, detect_config
from tests.goldens.recipe import read_keys

Shapes = dict[str, tuple[int, ...]]
NUM_CLASSES = 3
TOP_K = 40


def names(
    *,
    depths: tuple[int, ...] = (3, 4, 6, 3),
    base: int = 8,
    channels: int = 64,
    num_classes: int = NUM_CLASSES,
    num_convs: int = 2,
    width: int = 16,
    features: int = 8,
    start_level: int = 1,
    used: tuple[int, ...] = (0, 1, 2),
    deformable: bool = False,
    conv_bias: bool = True,
) -> Shapes:
    """The keys and shapes of MMDetection's CondInst on a ResNet of bottlenecks, written down by its constructors."""
    shapes: Shapes = {}

    def conv(name: str, out: int, inside: int, kernel: int, bias: bool = False) -> None:
        shapes[f"{name}.weight"] = (out, inside, kernel, kernel)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str, size: int, statistics: bool = True) -> None:
        for part in ("weight", "bias") + (("running_mean", "running_var") if statistics else ()):
            shapes[f"{name}.{part}"] = (size,)
        if statistics:
            shapes[f"{name}.num_batches_tracked"] = ()

    conv("backbone.conv1", base, 3, 7)
    norm("backbone.bn1", base)
    inside = base
    for stage, depth in enumerate(depths):
        middle, out = base * 2**stage, 4 * base * 2**stage
        for block in range(depth):
            prefix = f"backbone.layer{stage + 1}.{block}."
            for index, (to, of, kernel) in enumerate(((middle, inside, 1), (middle, middle, 3), (out, middle, 1)), 1):
                conv(f"{prefix}conv{index}", to, of, kernel)
                norm(f"{prefix}bn{index}", to)
            if deformable and stage == 3:
                conv(f"{prefix}conv2.conv_offset", 27, middle, 3, bias=True)
            if block == 0:
                conv(f"{prefix}downsample.0", out, inside, 1)
                norm(f"{prefix}downsample.1", out)
            inside = out
    stages = [4 * base * 2**stage for stage in range(4)][start_level:]
    for index, size in enumerate(stages):
        conv(f"neck.lateral_convs.{index}.conv", channels, size, 1, bias=True)
    num_levels = len(stages) + 2
    for index in range(num_levels):
        conv(f"neck.fpn_convs.{index}.conv", channels, channels, 3, bias=True)
        shapes[f"bbox_head.scales.{index}.scale"] = ()
    for tower in ("cls_convs", "reg_convs"):
        for index in range(num_convs):
            conv(f"bbox_head.{tower}.{index}.conv", channels, channels, 3, bias=conv_bias)
            norm(f"bbox_head.{tower}.{index}.gn", channels, statistics=False)
            if deformable and index == num_convs - 1:
                conv(f"bbox_head.{tower}.{index}.conv.conv_offset", 27, channels, 3, bias=True)
    num_params = (features + 2) * features + features + features**2 + features + features + 1
    for layer, size in (("conv_cls", num_classes), ("conv_reg", 4), ("conv_centerness", 1), ("controller", num_params)):
        conv(f"bbox_head.{layer}", size, channels, 3, bias=True)
    head = "mask_head.mask_feature_head."
    for index, level in enumerate(used):
        conv(f"{head}convs_all_levels.{index}.conv{level}.conv", width, channels, 3)
        norm(f"{head}convs_all_levels.{index}.conv{level}.bn", width)
    for index in range(num_convs):
        conv(f"{head}conv_branch.{index}.conv", width, width, 3)
        norm(f"{head}conv_branch.{index}.bn", width)
    conv(f"{head}conv_pred", features, width, 1, bias=True)
    return shapes


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Weights with which the model finds some dozens of objects of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if key.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif key.endswith("running_var"):
            value = 0.5 + value.abs()
        elif "offset" in key:
            value = 0.1 * value
        elif len(shape) == 4:
            value = value * math.sqrt(2 / math.prod(shape[1:]))
        elif key.endswith((".weight", ".scale")):
            value = 1 + 0.1 * value
        else:
            value = 0.1 * value
        state[key] = value
    for key in list(state):
        if key.endswith("bn3.weight"):  # else the sums of the residuals grow
            state[key] *= 0.3
    state["bbox_head.conv_cls.weight"] *= 1.5
    state["bbox_head.conv_cls.bias"] -= 3.0
    state["bbox_head.conv_centerness.weight"] *= 2.0
    state["bbox_head.conv_reg.bias"] += 2.0
    state["bbox_head.controller.weight"] *= 0.5
    return state


class Rebuilt:
    """Inference as MMDetection does it, one image, in plain PyTorch on its own key names.

    Args:
        state: the weights.
        levels: outputs of the neck.
        used: those that feed the mask features.
        features: channels of these.
        num_convs: depth of the towers.
    """

    def __init__(
        self, state: dict[str, Tensor], *, levels: int = 5, used: tuple[int, ...] = (0, 1, 2), features: int = 8
    ) -> None:
        self.state, self.used, self.features = state, used, features
        self.strides = [2 ** (level + 8 - levels) for level in range(levels)]

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        padding = weight.shape[-1] // 2
        if f"{name}.conv_offset.weight" not in self.state:
            return F.conv2d(x, weight, bias, stride, padding)
        first, second, mask = self.conv(f"{name}.conv_offset", x, stride).chunk(3, dim=1)
        offset = torch.cat([first, second], dim=1)
        return deform_conv2d(x, offset, weight, bias, stride, padding, mask=mask.sigmoid())

    def norm(self, name: str, x: Tensor) -> Tensor:
        state = self.state
        if f"{name}.running_mean" not in state:
            return F.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)

    def has(self, name: str) -> bool:
        return any(key.startswith(name) for key in self.state)

    def backbone(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(self.norm("backbone.bn1", self.conv("backbone.conv1", x, 2)).relu(), 3, 2, 1)
        outputs = []
        for stage in range(1, 5):
            block = 0
            while self.has(f"backbone.layer{stage}.{block}."):
                prefix = f"backbone.layer{stage}.{block}."
                stride = 2 if stage > 1 and block == 0 else 1
                out = self.norm(f"{prefix}bn1", self.conv(f"{prefix}conv1", x)).relu()
                out = self.norm(f"{prefix}bn2", self.conv(f"{prefix}conv2", out, stride)).relu()
                out = self.norm(f"{prefix}bn3", self.conv(f"{prefix}conv3", out))
                if block == 0:
                    x = self.norm(f"{prefix}downsample.1", self.conv(f"{prefix}downsample.0", x, stride))
                x, block = (out + x).relu(), block + 1
            outputs.append(x)
        return outputs

    def neck(self, stages: list[Tensor]) -> list[Tensor]:
        num_laterals = len(self.strides) - 2
        stages = stages[-num_laterals:]
        laterals = [self.conv(f"neck.lateral_convs.{index}.conv", stage) for index, stage in enumerate(stages)]
        for index in range(num_laterals - 1, 0, -1):
            size = laterals[index - 1].shape[2:]
            laterals[index - 1] = laterals[index - 1] + F.interpolate(laterals[index], size=size, mode="nearest")
        outs = [self.conv(f"neck.fpn_convs.{index}.conv", lateral) for index, lateral in enumerate(laterals)]
        outs.append(self.conv(f"neck.fpn_convs.{num_laterals}.conv", outs[-1], 2))
        outs.append(self.conv(f"neck.fpn_convs.{num_laterals + 1}.conv", outs[-1].relu(), 2))
        return outs

    def tower(self, name: str, x: Tensor) -> Tensor:
        index = 0
        while self.has(f"bbox_head.{name}.{index}."):
            x = self.norm(f"bbox_head.{name}.{index}.gn", self.conv(f"bbox_head.{name}.{index}.conv", x)).relu()
            index += 1
        return x

    def mask_features(self, levels: list[Tensor]) -> Tensor:
        head = "mask_head.mask_feature_head."
        total = torch.zeros(())
        for index, level in enumerate(self.used):
            name = f"{head}convs_all_levels.{index}.conv{level}"
            x = self.norm(f"{name}.bn", self.conv(f"{name}.conv", levels[level])).relu()
            total = x if index == 0 else total + bilinear(x, total.shape[-1] // x.shape[-1])
        index = 0
        while self.has(f"{head}conv_branch.{index}."):
            name = f"{head}conv_branch.{index}"
            total = self.norm(f"{name}.bn", self.conv(f"{name}.conv", total)).relu()
            index += 1
        return self.conv(f"{head}conv_pred", total)

    def candidates(self, levels: list[Tensor], size: tuple[int, int], top_k: int) -> list[Tensor]:
        """Boxes, scores, labels, parameters, points and strides before suppression, clipped to (height, width)."""
        rows: list[list[Tensor]] = []
        for index, (level, stride) in enumerate(zip(levels, self.strides, strict=True)):
            cls_feature, reg_feature = self.tower("cls_convs", level), self.tower("reg_convs", level)
            scores = self.conv("bbox_head.conv_cls", cls_feature)[0].flatten(1).T.sigmoid()  # [cells, classes]
            distances = self.conv("bbox_head.conv_reg", reg_feature) * self.state[f"bbox_head.scales.{index}.scale"]
            distances = distances[0].flatten(1).T.clamp(min=0) * stride
            centerness = self.conv("bbox_head.conv_centerness", reg_feature)[0].flatten().sigmoid()
            params = self.conv("bbox_head.controller", reg_feature)[0].flatten(1).T
            points = grid(level.shape[2], level.shape[3], stride)

            cells, labels = torch.nonzero(scores > 0.05, as_tuple=True)
            order = scores[cells, labels].argsort(descending=True)[:top_k]  # by the class probability alone
            cells, labels = cells[order], labels[order]
            x, y = points[cells].T
            left, top, right, bottom = distances[cells].T
            boxes = torch.stack([x - left, y - top, x + right, y + bottom], dim=1)
            boxes[:, 0::2] = boxes[:, 0::2].clamp(0, size[1])
            boxes[:, 1::2] = boxes[:, 1::2].clamp(0, size[0])
            kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            columns = [boxes, scores[cells, labels] * centerness[cells], labels, params[cells], points[cells]]
            columns.append(torch.full((len(cells),), float(stride)))
            rows.append([column[kept] for column in columns])
        return [torch.cat(columns) for columns in zip(*rows, strict=True)]

    def __call__(self, batch: Tensor, size: tuple[int, int], output: tuple[int, int], top_k: int) -> dict[str, Tensor]:
        """Of the padded image [1, 3, H, W], the results at the size `output`."""
        levels = self.neck(self.backbone(batch))
        columns = self.candidates(levels, size, top_k)
        kept = torch.cat(
            [
                index[nms(columns[0][index], columns[1][index], 0.6)]
                for label in columns[2].unique()
                for index in [torch.nonzero(columns[2] == label).squeeze(1)]
            ]
        )
        kept = kept[columns[1][kept].argsort(descending=True)][:100]
        boxes, scores, labels, params, points, strides = (column[kept] for column in columns)

        features = self.mask_features(levels)
        stride = self.strides[self.used[0]]
        height, width = features.shape[2:]
        relative = (points[:, None] - grid(height, width, stride)) / (strides[:, None, None] * 8)  # [K, h*w, 2]
        masks = []
        for one, coordinates in zip(params, relative, strict=True):
            x = torch.cat([coordinates.T.reshape(1, 2, height, width), features], dim=1)
            masks.append(self.dynamic_head(x, one))
        logits = bilinear(torch.cat(masks), stride // 4)  # [K, 1, H/4, W/4]
        probabilities = bilinear(logits.sigmoid(), 4)[..., : size[0], : size[1]]
        pixels = F.interpolate(probabilities, output, mode="bilinear", align_corners=False)[:, 0]
        scale = torch.tensor([size[1] / output[1], size[0] / output[0]]).repeat(2)
        return {"boxes": boxes / scale, "scores": scores, "labels": labels, "probabilities": pixels}

    def dynamic_head(self, x: Tensor, params: Tensor) -> Tensor:
        c = self.features
        w0, w1, w2, b0, b1, b2 = params.split([(c + 2) * c, c * c, c, c, c, 1])
        x = F.conv2d(x, w0.reshape(c, c + 2, 1, 1), b0).relu()
        x = F.conv2d(x, w1.reshape(c, c, 1, 1), b1).relu()
        return F.conv2d(x, w2.reshape(1, c, 1, 1), b2)


def grid(height: int, width: int, stride: int) -> Tensor:
    """Half a cell inside, [height * width, 2] (x, y)."""
    y, x = torch.meshgrid((torch.arange(height) + 0.5) * stride, (torch.arange(width) + 0.5) * stride, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def bilinear(x: Tensor, factor: int) -> Tensor:
    """`aligned_bilinear` of MMDetection, by its closed form (numerics 1.9)."""

    def along(x: Tensor) -> Tensor:
        count = x.shape[-1]
        position = ((torch.arange(count * factor) - factor // 2) / factor).clamp(0, count - 1)
        low = position.floor().long()
        part = position - low
        return (1 - part) * x[..., low] + part * x[..., (low + 1).clamp(max=count - 1)]

    return along(along(x).transpose(-1, -2)).transpose(-1, -2)


def saved(state: dict[str, Tensor], path: Path) -> Path:
    """A file as mmengine's runner and `publish_model.py` leave it."""
    meta: dict[str, Any] = {
        "cfg": "model = dict(type='CondInst')",
        "seed": 5,
        "dataset_meta": {"classes": ("a", "b", "c"), "palette": [(220, 20, 60)]},
        "mmengine_version": "0.10.3",
    }
    torch.save({"meta": meta, "state_dict": state}, path)
    return path


def make_picture(height: int, width: int) -> Tensor:
    """Smooth random colours [3, height, width] uint8."""
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(3))
    return (F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0] * 255).to(torch.uint8)


def normalised(picture: Tensor) -> Tensor:
    """RGB with ImageNet's statistics, then padded with zeros to multiples of 32: [1, 3, H, W]."""
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    x = (picture.float() - mean) / std
    return F.pad(x, (0, -x.shape[2] % 32, 0, -x.shape[1] % 32))[None]


@pytest.mark.parametrize(
    ("shapes", "rebuilt", "top_k"),
    [
        ({}, {}, 1000),
        ({"features": 16, "conv_bias": False}, {"features": 16}, TOP_K),
        ({"deformable": True}, {}, TOP_K),
        ({"start_level": 0, "used": (1, 2, 3)}, {"levels": 6, "used": (1, 2, 3)}, TOP_K),
    ],
)
def test_results_are_those_of_mmdetections_rules(
    tmp_path: Path, shapes: dict[str, Any], rebuilt: dict[str, Any], top_k: int
) -> None:
    state = random_state(names(**shapes))
    if top_k == 1000:  # where nothing is cut, the threshold alone keeps candidates out
        state["bbox_head.conv_cls.bias"] -= 3.0
    model = condinst.load(
        saved(state, tmp_path / "model.pth"), min_size_test=120, max_size_test=220, pre_nms_top_k=top_k
    )
    picture = make_picture(60, 82)
    pil = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((164, 120), Image.Resampling.BILINEAR)
    network = torch.from_numpy(np.array(pil)).permute(2, 0, 1)
    expected = Rebuilt(state, **rebuilt)(normalised(network), (120, 164), (60, 82), top_k)
    (found,) = model([picture])

    assert 20 < len(expected["scores"]) <= (90 if top_k == 1000 else 100) and len(expected["labels"].unique()) > 1
    assert expected["scores"].min() < 0.05  # below the threshold, which is on the class probability
    torch.testing.assert_close(found["scores"], expected["scores"], rtol=1e-4, atol=1e-6)
    assert torch.equal(found["labels"], expected["labels"])
    torch.testing.assert_close(found["boxes"], expected["boxes"], rtol=1e-4, atol=1e-3)
    # on the rim of a mask rounding decides
    certain = (expected["probabilities"] - 0.5).abs() > 1e-4
    assert certain.float().mean() > 0.99
    assert torch.equal(found["masks"][certain], (expected["probabilities"] > 0.5)[certain])
    assert 0.02 < found["masks"].float().mean() < 0.98


def test_the_rules_matter(tmp_path: Path) -> None:
    """With AdelaiDet's rules in the place of any one of them, the test above would fail."""
    path = saved(random_state(names()), tmp_path / "model.pth")
    sizes: dict[str, Any] = {"min_size_test": 120, "max_size_test": 220, "pre_nms_top_k": TOP_K}
    picture = make_picture(60, 82)
    (found,) = condinst.load(path, **sizes)([picture])
    changes: list[dict[str, Any]] = [
        {"score_rule": "root", "score_threshold": math.sqrt(0.05), "threshold_with_centerness": False},
        {"clip_boxes": False},
        {"pixel_order": "bgr"},
        {"stride_in_1x1": True},
    ]
    for change in changes:
        (other,) = condinst.load(path, **sizes, **change)([picture])
        same = other["boxes"].shape == found["boxes"].shape and torch.allclose(other["boxes"], found["boxes"])
        assert not same or not torch.allclose(other["scores"], found["scores"]), change


@pytest.mark.parametrize(("keys", "depths"), [("mmdet_r50.tsv", (3, 4, 6, 3)), ("mmdet_r101.tsv", (3, 4, 23, 3))])
def test_names_are_those_of_mmdetection(keys: str, depths: tuple[int, ...]) -> None:
    shapes = names(depths=depths, base=64, channels=256, num_classes=80, num_convs=4, width=128)
    assert shapes == {key: shape for key, (shape, _) in read_keys(keys).items()}


@pytest.mark.parametrize(
    ("keys", "like"), [("mmdet_r50.tsv", "condinst_r50_1x"), ("mmdet_r101.tsv", "condinst_r101_1x")]
)
def test_published_architecture(keys: str, like: str) -> None:
    state = {key: torch.zeros(()).expand(shape) for key, (shape, _) in read_keys(keys).items()}
    config = detect_config(state, keys)
    expected = condinst.load_config(like)
    changed = {
        name: getattr(config, name)
        for name in config.__dataclass_fields__
        if getattr(config, name) != getattr(expected, name)
    }
    assert changed == {
        "name": "mmdetection",
        "pixel_order": "rgb",
        "pixel_mean": (123.675, 116.28, 103.53),
        "pixel_std": (58.395, 57.12, 57.375),
        "stride_in_1x1": False,
        "score_rule": "product",
        "score_threshold": 0.05,
        "clip_boxes": True,
    }
    converted = convert_state(state, config)
    given = {key: value for key, value in converted.items() if "backbone" not in key or "num_batches" not in key}
    with torch.device("meta"):
        model = CondInst(config)
    check_keys(given, model.state_dict(), keys)


def test_predict_drops_by_the_reported_score(tmp_path: Path) -> None:
    """Although the model itself holds the class probability against the threshold."""
    path = saved(random_state(names()), tmp_path / "model.pth")
    condinst.save_checkpoint(condinst.load(path, min_size_test=120), tmp_path / "small.safetensors")
    Image.fromarray(make_picture(60, 82).permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    (found,) = condinst.load(tmp_path / "small.safetensors", score_threshold=0.3)([read_image(tmp_path / "a.png")])
    words = ["predict", tmp_path / "a.png", "--weights", tmp_path / "small.safetensors", "--score-threshold", 0.3]
    with pytest.raises(SystemExit) as done:
        cli.main([str(word) for word in (*words, "--out", tmp_path / "out")])
    assert done.value.code == 0
    scores = [row["score"] for row in json.loads((tmp_path / "out" / "predictions.json").read_text())]
    assert 0 < len(scores) < len(found["scores"]) and min(scores) > 0.3


def training_checkpoint(content: dict[str, Any], path: Path, name: str) -> Path:
    """A file with an object of a class of MMEngine beside this content."""
    module_name, _, class_name = name.rpartition(".")
    module = types.ModuleType(module_name)
    kind = type(class_name, (), {"__module__": module_name, "mean": lambda self: 0.0})
    kind.mean.__qualname__ = f"{class_name}.mean"  # type: ignore[attr-defined]
    kind.mean.__module__ = module_name  # type: ignore[attr-defined]
    setattr(module, class_name, kind)
    history = kind()
    history.__dict__.update(values=np.arange(3.0), methods={"mean": kind.mean})  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        parents = module_name.split(".")
        for index in range(1, len(parents)):  # pickle looks the class up
            patch.setitem(sys.modules, ".".join(parents[:index]), types.ModuleType(parents[index - 1]))
        patch.setitem(sys.modules, module_name, module)
        torch.save({**content, "message_hub": {"log_scalars": {"loss": history}}}, path)
    return path


def test_the_course_of_the_losses_in_a_training_checkpoint_is_passed_over(tmp_path: Path) -> None:
    state = random_state(names())
    path = training_checkpoint(
        {"state_dict": state}, tmp_path / "a.pth", "mmengine.logging.history_buffer.HistoryBuffer"
    )
    loaded = condinst.load(path).state_dict()
    assert torch.equal(loaded["head.cls_logits.bias"], state["bbox_head.conv_cls.bias"])


def test_training_checkpoints_say_what_to_do(tmp_path: Path) -> None:
    path = training_checkpoint({"state_dict": random_state(names())}, tmp_path / "iter_9.pth", "mmengine.hooks.Other")
    with pytest.raises(
        CheckpointError, match=r"mmengine.hooks.Other; only tensors are read; MMDetection's .*publish_m"
    ):
        condinst.load(path)


@pytest.mark.parametrize("num_laterals", [0, 7])
def test_numbers_of_levels_that_no_neck_has(tmp_path: Path, num_laterals: int) -> None:
    state = {key: value for key, value in random_state(names()).items() if ".lateral_convs." not in key}
    levels = state["neck.fpn_convs.0.conv.weight"], state["neck.fpn_convs.0.conv.bias"]
    for index in range(num_laterals):
        state[f"neck.lateral_convs.{index}.conv.weight"], state[f"neck.lateral_convs.{index}.conv.bias"] = levels
    for index in range(num_laterals + 2):
        state[f"neck.fpn_convs.{index}.conv.weight"], state[f"neck.fpn_convs.{index}.conv.bias"] = levels
        state[f"bbox_head.scales.{index}.scale"] = torch.tensor(1.0)
    with pytest.raises(CheckpointError, match=r"model\.pth: expected .* neck\.lateral_convs"):
        condinst.load(saved(state, tmp_path / "model.pth"))


def test_saved_again(tmp_path: Path) -> None:
    model = condinst.load(saved(random_state(names()), tmp_path / "model.pth"), pre_nms_top_k=TOP_K)
    condinst.save_checkpoint(model, tmp_path / "model.safetensors")
    again = condinst.load(tmp_path / "model.safetensors")
    assert again.config == model.config
    picture = make_picture(64, 96)
    for one, other in zip(model([picture], resize=False), again([picture], resize=False), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone.layer1.0.conv1.weight": None}, "1 missing: backbone.layer1.0.conv1.weight"),
        ({"backbone.layer3.6.conv1.weight": (4,)}, r"backbone\.layer\* of a ResNet"),
        ({"bbox_head.conv_cls.weight": None}, "without the key 'bbox_head.conv_cls.weight'"),
        ({"bbox_head.controller.weight": (168, 64, 3, 3)}, "8 feature channels has 168 parameters"),
        ({"bbox_head.scales.4.scale": None}, "got 4, 5, 3"),
        ({"bbox_head.cls_convs.0.bn.weight": (64,)}, "batch norms shared by all levels is not supported"),
        ({"mask_head.extra": (1,)}, "1 unexpected: mask_head.extra"),
        ({"neck.fpn_convs.3.conv.weight": (64, 256, 3, 3)}, r"neck\.extra_blocks\.p6\.weight \(expected"),
    ],
)
def test_other_architectures_are_refused(
    tmp_path: Path, change: dict[str, tuple[int, ...] | None], message: str
) -> None:
    state = random_state(names())
    for key, shape in change.items():
        if shape is None:
            del state[key]
        else:
            state[key] = torch.zeros(shape)
    with pytest.raises(CheckpointError, match=r"model\.pth.*" + message):
        condinst.load(saved(state, tmp_path / "model.pth"))
