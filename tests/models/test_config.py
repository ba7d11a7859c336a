"""The configuration: built-in files, overrides and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from condinst import CondInstConfig, config_names, load_config
from condinst.data.cityscapes import CLASSES
from condinst.engine.config import load_training_config


@pytest.mark.parametrize("name", config_names())
def test_built_in_configs_load(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    assert CondInstConfig.from_json(config.to_json()) == config


def test_published_model() -> None:
    config = load_config("condinst_r50_1x")
    assert config.num_mask_head_params == 169
    assert config.strides == (8, 16, 32, 64, 128)
    assert config.level_sizes_of_interest == (64, 128, 256, 512, 1024)
    assert len(config.class_names) == 80 and config.class_names[0] == "person"


@pytest.mark.parametrize(
    ("overrides", "numbers"),
    [
        ({"mask_head_layers": 1}, 11),
        ({"mask_head_channels": 16}, 10 * 16 + 16 + 16 * 16 + 16 + 17),
        ({"mask_head_coordinates": "absolute"}, 169),
        ({"mask_head_coordinates": "none"}, 169 - 16),
        ({"mask_head_features": False}, 169 - 64),
    ],
)
def test_numbers_of_a_mask_head(overrides: dict[str, Any], numbers: int) -> None:
    assert CondInstConfig(**overrides).num_mask_head_params == numbers


def test_real_time_models() -> None:
    config = load_config("condinst_rt_dla34_shared")
    assert (config.strides, config.level_sizes_of_interest) == ((8, 16, 32), (64, 128, 256))
    assert (config.num_share_convs, config.num_cls_convs, config.num_box_convs) == (4, 0, 0)
    assert load_training_config("condinst_rt_dla34_shared").steps == 360_000


def test_cityscapes_classes() -> None:
    config = load_config("condinst_r50_cityscapes_sem")
    assert dict(zip(config.category_ids, config.class_names, strict=True)) == CLASSES
    training = load_training_config("condinst_r50_cityscapes_sem")
    assert (training.steps, training.milestones, training.scaled_learning_rate) == (24_000, (18_000,), 0.01)


def test_another_number_of_classes_drops_the_names() -> None:
    config = load_config("condinst_r50_1x")
    assert config.category_ids[:2] == (1, 2) and config.category_ids[79] == 90
    fewer = config.replace(num_classes=5)
    assert fewer.class_names == () and fewer.category_ids == ()
    assert config.replace(num_classes=80).class_names == config.class_names


def test_file_with_base(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "condinst_r50_1x"\nnum_classes = 2\nclass_names = ["a", "b"]\n')
    config = load_config(tmp_path / "mine.toml")
    assert (config.name, config.num_classes, config.backbone) == ("mine", 2, "resnet50")


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"scor_threshold": 0.5}, ValueError, "scor_threshold: not a field .*did you mean 'score_threshold'"),
        ({"num_classes": "80"}, TypeError, "num_classes: expected int, got str '80'"),
        ({"use_scale": 1}, TypeError, "use_scale: expected bool"),
        ({"num_classes": 0}, ValueError, "num_classes: expected at least 1, got 0"),
        ({"backbone": "resnet52"}, ValueError, "backbone: expected one of resnet18"),
        ({"score_threshold": 1.5}, ValueError, "score_threshold: expected a number in 0..1"),
        ({"mask_output_stride": 3}, ValueError, "mask_output_stride: expected one of .*8, 4, 2"),
        ({"mask_loss_locations": "best"}, ValueError, "mask_loss_locations: expected one of all, random, top"),
        ({"sizes_of_interest": (64, 128)}, ValueError, "sizes_of_interest: expected 4 sizes"),
        ({"class_names": ("a",)}, ValueError, r"class_names: expected 80 \(num_classes\), got 1"),
        ({"fpn_in_features": ("res3",)}, ValueError, "fpn_in_features: expected consecutive stages"),
        ({"mask_branch_in_features": ("p2",)}, ValueError, "mask_branch_in_features: expected levels of"),
        ({"fpn_channels": 100}, ValueError, "fpn_channels: expected a multiple of 32"),
        ({"mask_branch_in_features": ("p4", "p3")}, ValueError, "mask_branch_in_features: .*finest first"),
        ({"size_divisibility": 16}, ValueError, "size_divisibility: expected a multiple of 32"),
        ({"min_size_train": ()}, ValueError, "min_size_train"),
        ({"neck": "nasfpn"}, ValueError, "neck: expected one of fpn, bifpn, got 'nasfpn'"),
        ({"bifpn_repeats": 0}, ValueError, "bifpn_repeats: expected at least 1, got 0"),
        (
            {
                "neck": "bifpn",
                "fpn_in_features": ("res5",),
                "fpn_top_levels": 0,
            },
            ValueError,
            "fpn_in_features: expected at least two levels with neck bifpn and no top levels, got one",
        ),
        ({"backbone_deformable": "res5"}, TypeError, "backbone_deformable: expected tuple, got str"),
        (
            {"backbone": "dla34", "freeze_at": 0, "backbone_deformable": ("res5",)},
            ValueError,
            "backbone_deformable: expected none with backbone dla34",
        ),
        ({"backbone": "dla34"}, ValueError, "freeze_at: expected 0 with backbone dla34, got 2"),
        (
            {"backbone": "dla34", "freeze_at": 0, "backbone_base_channels": 6},
            ValueError,
            "backbone_base_channels: expected a multiple of 4 with backbone dla34, got 6",
        ),
        (
            {
                "backbone": "dla34",
                "freeze_at": 0,
                "size_divisibility": 16,
                "mask_branch_in_features": ("p3", "p4"),
            },
            ValueError,
            "size_divisibility: expected a multiple of 32 with backbone dla34, got 16",
        ),
        (
            {"mask_head_features": False, "mask_head_coordinates": "none"},
            ValueError,
            "mask_head_features: expected True",
        ),
    ],
)
def test_refused(overrides: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CondInstConfig().replace(**overrides)


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match="condinst_nano.*did you mean 'condinst_r50_1x'"):
        load_config("condinst_r50_1")


def test_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("num_classes = = 2")
    with pytest.raises(ValueError, match="broken.toml is not TOML"):
        load_config(tmp_path / "broken.toml")
    with pytest.raises(ValueError, match="no such file"):
        load_config(tmp_path / "absent.toml")
