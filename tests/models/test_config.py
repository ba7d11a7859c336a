"""The configuration: built-in files, overrides and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from condinst import CondInstConfig, config_names, load_config
from condinst.data.cityscapes import CLASSES
from condinst.engine.config import load_training_config, parse_settings
from condinst.fields import flat_values


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
    assert len(config.classes.class_names) == 80 and config.classes.class_names[0] == "person"


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
    assert dict(zip(config.classes.category_ids, config.classes.class_names, strict=True)) == CLASSES
    training = load_training_config("condinst_r50_cityscapes_sem")
    assert (training.steps, training.milestones, training.scaled_learning_rate) == (24_000, (18_000,), 0.01)


def test_another_number_of_classes_drops_the_names() -> None:
    config = load_config("condinst_r50_1x")
    assert config.classes.category_ids[:2] == (1, 2) and config.classes.category_ids[79] == 90
    fewer = config.replace(num_classes=5)
    assert fewer.classes.class_names == () and fewer.classes.category_ids == ()
    assert config.replace(num_classes=80).classes.class_names == config.classes.class_names


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
        ({"pixel_mean": (1.0, 2.0)}, ValueError, r"pixel_mean: expected 3 numbers, got \(1.0, 2.0\)"),
        ({"pixel_mean": ("1", 2.0, 3.0)}, TypeError, "pixel_mean: expected float, got str '1'"),
        ({"pixel_std": (1.0, 0.0, 1.0)}, ValueError, r"pixel_std: expected a number in 1e-06\.\.1000000, got 0.0"),
        ({"pixel_mean": (0.0, 1e9, 1.0)}, ValueError, r"pixel_mean: expected a number in -1000000\.\.1000000"),
        ({"head_in_features": (["p3"],)}, TypeError, r"head_in_features: expected str, got list \['p3'\]"),
        ({"mask_branch_in_features": ("p3", "p3")}, ValueError, "mask_branch_in_features: .*finest first"),
        ({"min_size_train": (640, True)}, TypeError, "min_size_train: expected int, got bool True"),
        ({"min_size_train": (0,)}, ValueError, "min_size_train: expected at least 1, got 0"),
        ({"max_size_test": 10**9}, ValueError, r"max_size_test: expected at most 16384 \(the side of a picture"),
        ({"fpn_channels": 64 * 10**9}, ValueError, r"fpn_channels: expected at most 8192 \(32 times"),
        ({"num_cls_convs": 10**9}, ValueError, r"num_cls_convs: expected at most 256 \("),
        ({"bifpn_repeats": 10**9}, ValueError, r"bifpn_repeats: expected at most 256 \("),
        ({"mask_head_layers": 10**6}, ValueError, r"mask_head_layers: expected at most 32 \("),
        ({"pre_nms_top_k": 2**70}, ValueError, "pre_nms_top_k: expected at most 9223372036854775807, got 118"),
        ({"pre_nms_top_k": 2**40}, ValueError, r"pre_nms_top_k: expected at most 2147483647 \("),
        ({"max_detections": 10**5000}, ValueError, "max_detections: expected .* got int of thousands of digits"),
        ({"nms_threshold": float("nan")}, ValueError, "nms_threshold: expected a finite number, got nan"),
        ({"mask_loss_weight": 10**400}, ValueError, "mask_loss_weight: expected a finite number, got 1000"),
        ({"prior_probability": 1.0}, ValueError, "prior_probability: expected a number between 0 and 1, got 1.0"),
        ({"focal_loss_alpha": -0.5}, ValueError, r"focal_loss_alpha: expected a number in 0\.\.1"),
        ({"center_sampling_radius": 0}, ValueError, "center_sampling_radius: expected a number above 0, got 0.0"),
        ({"fpn_top_levels": 1}, ValueError, "fpn_top_levels: expected one of 0, 2, got 1"),
        ({"freeze_at": 6}, ValueError, "freeze_at: expected at most 5"),
        ({"category_ids": (1.5,)}, TypeError, "category_ids: expected int or str, got float 1.5"),
        ({"nms": 5}, TypeError, "nms: expected str, got int 5"),
        ({"focal_loss_gamma": -1.0}, ValueError, "focal_loss_gamma: expected a number of at least 0"),
        ({"sizes_of_interest": (64, 128, 256, 0)}, ValueError, "sizes_of_interest: expected at least 1, got 0"),
        ({"backbone": "x" * 10**6}, ValueError, "backbone: expected one of resnet18.*xxx"),
        ({"self": 1}, ValueError, "self: not a field"),
    ],
)
def test_refused(overrides: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CondInstConfig().replace(**overrides)


ABSURD: tuple[Any, ...] = (
    *(2**70, 2**31, 10**9, -1, 0, 10**400, 1e300, -1e300, float("nan"), float("inf"), "x", "", None, True, {}),
    *([], [1], [[1]], ["p3"], [1e300] * 3, [0, 0, 0], [10**400] * 3, [[]] * 80, {"a": [1]}),
)


@pytest.mark.parametrize("field", list(flat_values(CondInstConfig())))
def test_absurd_values_in_a_file_are_refused_or_do_no_harm(field: str) -> None:
    """What JSON can hold gives a config, or a ValueError of one sentence that names the field."""
    fields = json.loads(CondInstConfig().replace(num_classes=1).to_json())
    for value in ABSURD:
        try:
            config = CondInstConfig.from_json(json.dumps(fields | {field: value}))
        except ValueError as error:
            assert field in str(error) or value in (0, 10**9), (value, str(error))  # it contradicts others
            assert len(str(error)) < 400
        else:
            assert CondInstConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"expected a JSON object, got \[\]"),
        ("{", "expected a JSON object: "),
        ("[" * 10**5, "expected a JSON object: "),
        ('{"num_classes": ' + "9" * 5000 + "}", "expected a JSON object: "),
        ('{"num_classes": "3"}', "num_classes: expected int, got str '3'"),
    ],
)
def test_json_that_is_no_config(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CondInstConfig.from_json(text)


def test_ids_may_be_text() -> None:
    config = CondInstConfig().replace(num_classes=2, category_ids=("cat", "dog"))
    assert CondInstConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "{folder}/mine.toml"', "mine.toml is its own base"),
        ('base = "{folder}/other.toml"', "mine.toml is its own base"),
        ("base = 5", "mine.toml: base: expected the name or the file of a config, got 5"),
        ('base = ["condinst_nano"]', "mine.toml: base: expected the name"),
        (f'base = "{"x" * 300}.toml"', r"mine.toml: base: cannot read x+\.\.\.: File name too long"),
        ('base = "absent.toml"', "mine.toml: base: no such file: absent.toml"),
        ('base = "\\u0000.toml"', "mine.toml: base: no such file"),
        ("a = " + "[" * 3000, "mine.toml is not TOML"),
        ("num_classes = " + "9" * 5000, "mine.toml is not TOML"),
        ('num_classes = "3"', "mine.toml: num_classes: expected int, got str '3'"),
        ("num_classes = 0", "mine.toml: num_classes: expected at least 1"),
        ('head_in_features = [["p3"]]', "mine.toml: head_in_features: expected str, got list"),
        ("num_classes = 0x" + "f" * 5000, "mine.toml: num_classes: expected at most .* of thousands of digits"),
        ("training = 3", r"expected a table \[training\] in .*mine.toml"),
    ],
)
def test_a_file_with_mistakes_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "other.toml").write_text(f'base = "{tmp_path}/mine.toml"')
    (tmp_path / "mine.toml").write_text(text.replace("{folder}", str(tmp_path)))
    with pytest.raises(ValueError, match=message) as error:
        load_config(tmp_path / "mine.toml")
    assert len(str(error.value)) < 600


def test_a_base_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(f'base = "{tmp_path}/other.toml"')
    (tmp_path / "other.toml").write_text("")
    (tmp_path / "other.toml").chmod(0)
    if os.access(tmp_path / "other.toml", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ValueError, match="mine.toml: base: cannot read .*other.toml: Permission denied"):
        load_config(tmp_path / "mine.toml")


def test_a_long_chain_of_bases(tmp_path: Path) -> None:
    for index in range(2000):
        (tmp_path / f"{index}.toml").write_text(f'base = "{tmp_path}/{index + 1}.toml"')
    (tmp_path / "2000.toml").write_text("num_classes = 3")
    with pytest.raises(ValueError, match="100.toml is the base of 100 files, one after the other"):
        load_config(tmp_path / "0.toml")
    assert load_config(tmp_path / "1950.toml").num_classes == 3


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ValueError, match="mine.toml is not TOML"):
        load_config(tmp_path / "mine.toml")


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match="condinst_nano.*did you mean 'condinst_r50_1x'"):
        load_config("condinst_r50_1")


def test_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("num_classes = = 2")
    with pytest.raises(ValueError, match="broken.toml is not TOML"):
        load_config(tmp_path / "broken.toml")
    with pytest.raises(ValueError, match="no such file"):
        load_config(tmp_path / "absent.toml")


OLD_FILES = Path(__file__).parent / "old_files"
"""A config and a recipe as release 0.1.0 wrote them, with other values than the defaults where names have changed."""

OLD_FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "panoptic_things": ({"panoptic_things": "one"}, {"separate_thing_channels": False}),
}
"""By the old name of a field: the field as an old file has it, and what it is now."""


def test_all_old_names_are_tested() -> None:
    assert OLD_FIELDS.keys() == CondInstConfig.OLD_NAMES.keys()
    new_names = {field.name for field in dataclasses.fields(CondInstConfig)}
    assert not CondInstConfig.OLD_NAMES.keys() & new_names
    assert {old.name for old in CondInstConfig.OLD_NAMES.values()} <= new_names


@pytest.mark.parametrize(("old", "new"), OLD_FIELDS.values(), ids=OLD_FIELDS)
def test_old_names_are_read(tmp_path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    ((old_name, old_value),) = old.items()
    ((new_name, new_value),) = new.items()
    assert getattr(CondInstConfig(), new_name) != new_value
    changed = CondInstConfig().replace(**new)
    assert CondInstConfig().replace(**old) == changed
    assert CondInstConfig.from_json(json.dumps(old)) == changed
    assert CondInstConfig.from_json(changed.to_json()) == changed and old_name not in changed.to_json()
    setting = f"{old_name}={json.dumps(old_value)}"
    assert parse_settings("--model", CondInstConfig, [setting]) == new
    (tmp_path / "old.toml").write_text(setting)
    assert load_config(tmp_path / "old.toml") == changed.replace(name="old")
    # a file may have a newer base
    default = json.dumps(getattr(CondInstConfig(), new_name))
    (tmp_path / "base.toml").write_text(f"{new_name} = {default}")
    (tmp_path / "old.toml").write_text(f'base = "{tmp_path}/base.toml"\n{setting}')
    assert load_config(tmp_path / "old.toml") == changed.replace(name="old")


def test_an_old_name_beside_the_new_one() -> None:
    with pytest.raises(ValueError, match="panoptic_things: is the old name of separate_thing_channels"):
        CondInstConfig().replace(panoptic_things="each", separate_thing_channels=True)


def test_a_config_of_an_old_checkpoint_is_read() -> None:
    fields = json.loads((OLD_FILES / "config.json").read_text())
    config = CondInstConfig.from_json(json.dumps(fields))
    assert CondInstConfig.from_json(config.to_json()) == config
    written = json.loads(config.to_json())
    assert fields.keys() - written.keys() == OLD_FIELDS.keys()
    assert all(written[name] == fields[name] for name in fields.keys() & written.keys())
    for name, old in CondInstConfig.OLD_NAMES.items():
        assert getattr(config, old.name) != getattr(CondInstConfig(), old.name), name


def test_an_old_config_file_is_read() -> None:
    config = load_config(OLD_FILES / "config.toml")
    assert config == CondInstConfig.from_json((OLD_FILES / "config.json").read_text())
    training = load_training_config(OLD_FILES / "config.toml")
    assert (training.steps, training.milestones, training.scale_range) == (10, (4, 8), (0.5, 2.0))
    assert (training.crop_size, training.precision) == (64, "32-true")


def test_names_and_ids_of_classes_are_those_of_the_config() -> None:
    fields = {"num_classes": 1, "class_names": ["a"], "category_ids": [3]}
    stuff = {"num_stuff_classes": 1, "stuff_names": ["b"], "stuff_category_ids": [7]}
    config = CondInstConfig().replace(**fields, **stuff)
    assert (config.stuff_names, config.stuff_category_ids) == (("b",), (7,))
    assert (config.panoptic_names, config.panoptic_category_ids) == (("a", "b"), (3, 7))
