"""Where frameworks put the state dict in a file, and what they put before the names of tensors."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import condinst
from condinst import CheckpointError, CondInst
from tests.models.adelaidet import SMALL, adelaidet_state, save
from tests.models.tiny import TINY, make_model

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(1)
    return adelaidet_state(CondInst(SMALL))


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def shifted(state: State) -> State:
    """Other weights."""
    return {key: value + 1 if key == "controller.bias" else value for key, value in state.items()}


def assert_loads(path: Path, state: State) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = condinst.load(path).state_dict()
    assert torch.equal(loaded["head.controller.bias"], state["controller.bias"])
    assert torch.equal(loaded["backbone.conv1.weight"], state["backbone.bottom_up.stem.conv1.weight"])


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "model.",
        "_orig_mod.",
        "ema_",
        "ema_model.module.",
        "module._orig_mod.model.",
        "ema_module.",
        "net.a.",
    ],
)
def test_prefixes(tmp_path: Path, state: State, prefix: str) -> None:
    counter = {"n_averaged": torch.tensor(3)}
    assert_loads(save({"state_dict": prefixed(state, prefix) | counter}, tmp_path / "a.pth"), state)


def test_tensors_beside_a_model(tmp_path: Path, state: State) -> None:
    assert_loads(save(prefixed(state, "model.") | {"loss.weight": torch.zeros(2)}, tmp_path / "a.pth"), state)


def test_wrappers_inside_of_a_model(tmp_path: Path, state: State) -> None:
    inner = {key.replace("backbone.bottom_up.", "backbone._orig_mod.bottom_up.module."): v for key, v in state.items()}
    assert_loads(save(inner, tmp_path / "a.pth"), state)
    save_file({key: value.clone() for key, value in inner.items()}, tmp_path / "a.safetensors")
    assert_loads(tmp_path / "a.safetensors", state)
    twice = inner | {"controller.bias": state["controller.bias"], "module.controller.bias": torch.zeros(169)}
    with pytest.raises(CheckpointError, match="expected one tensor for controller.bias, got .* and module.controller"):
        condinst.load(save(twice, tmp_path / "a.pth"))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {
            "state_dict": prefixed(state, "model."),
            "optimizer_states": [],
            "hyper_parameters": {"lr": 1.0},
        },
        lambda state: {"ema_state_dict": prefixed(state, "module.") | {"steps": torch.tensor(3)}},
        lambda state: {"checkpoint": {"model": {"state_dict": state}}, "best": np.float64(0.4)},
        lambda state: {"weights": state, "best": {np.int64(3): np.float32(0.4)}, "who": np.str_("me")},
    ],
)
def test_places(tmp_path: Path, state: State, wrap: Any) -> None:
    assert_loads(save(wrap(state), tmp_path / "a.pth"), state)


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda plain, average: {"model": plain, "model_ema": average}, "model_ema"),
        (lambda plain, average: {"model": plain, "ema": {"module": average}}, "ema.module"),
        (lambda plain, average: {"state_dict": prefixed(plain, "student.") | prefixed(average, "teacher.")}, "teacher"),
        (lambda plain, average: {"model": plain, "ema_state_dict": prefixed(average, "module.")}, "ema_state_dict"),
        # what MMEngine calls ema_state_dict are the weights before averaging
        (
            lambda plain, average: {
                "state_dict": average,
                "ema_state_dict": prefixed(plain, "module."),
                "meta": {"mmengine_version": "0.10.3"},
            },
            "state_dict",
        ),
    ],
)
def test_the_average_is_taken_with_a_warning(tmp_path: Path, state: State, wrap: Any, place: str) -> None:
    path = save(wrap(state, shifted(state)), tmp_path / "a.pth")
    with pytest.warns(UserWarning, match=rf"weights of 2 models, .* under (state_dict\.)?{place} are used, .* average"):
        model = condinst.load(path)
    assert torch.equal(model.state_dict()["head.controller.bias"], shifted(state)["controller.bias"])


def test_two_models_without_an_average(tmp_path: Path, state: State) -> None:
    path = save({"best": shifted(state), "state_dict": state}, tmp_path / "a.pth")
    with pytest.warns(
        UserWarning, match="weights of 2 models, under best, state_dict; those under state_dict are used$"
    ):
        model = condinst.load(path)
    assert torch.equal(model.state_dict()["head.controller.bias"], state["controller.bias"])


@pytest.mark.parametrize("name", ["a.pth", "a.pkl", "a.bin"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_under_any_ending(tmp_path: Path, state: State, name: str, protocol: int) -> None:
    arrays = {key: value.numpy() for key, value in state.items()}
    save({"model": arrays}, tmp_path / name)
    assert_loads(tmp_path / name, state)
    (tmp_path / name).write_bytes(pickle.dumps({"model": arrays}, protocol=protocol))
    assert_loads(tmp_path / name, state)
    (tmp_path / name).write_bytes(pickle.dumps(state, protocol=protocol))  # tensors, without torch.save
    assert_loads(tmp_path / name, state)


def test_safetensors_and_archives_under_other_endings(tmp_path: Path, state: State) -> None:
    save_file(state, tmp_path / "a.pth")
    assert_loads(tmp_path / "a.pth", state)
    torch.save(state, tmp_path / "a.safetensors")
    assert_loads(tmp_path / "a.safetensors", state)


@pytest.mark.parametrize(
    "value",
    [np.array(["cat"]), np.array([None, 1]), np.ones(2, complex), np.datetime64("2020-01-01"), np.ones(1, "f4,i4")],
)
def test_values_beside_the_weights_are_passed_over(tmp_path: Path, state: State, value: Any) -> None:
    assert_loads(save({"model": state, "note": value, "path": tmp_path}, tmp_path / "a.pth"), state)
    with pytest.raises(CheckpointError, match="refused: controller.bias: expected a tensor, got an array of"):
        condinst.load(save(state | {"controller.bias": value}, tmp_path / "b.pth"))


def test_axes_of_single_numbers(tmp_path: Path, state: State) -> None:
    """NumPy's ascontiguousarray gives arrays without axes one."""
    key = "proposal_generator.fcos_head.scales.0.scale"
    state = state | {key: torch.tensor(1.5), "mask_branch.refine.0.1.num_batches_tracked": torch.tensor([7])}
    model = condinst.load(save(state, tmp_path / "a.pth"))
    assert model.state_dict()["head.scales.0"].tolist() == [1.5]


def test_weights_of_ours_without_a_config(tmp_path: Path) -> None:
    model = make_model()
    path = save({"state_dict": prefixed(model.state_dict(), "model.")}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="weights of a condinst model without its config"):
        condinst.load(path)
    loaded = condinst.load(path, config=TINY)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_backbones_with_prefixes(tmp_path: Path) -> None:
    source, target = CondInst(SMALL), CondInst(SMALL)
    condinst.load_backbone(
        target, save({"state_dict": prefixed(source.backbone.state_dict(), "module.model.")}, tmp_path / "a.pth")
    )
    assert torch.equal(target.backbone.state_dict()["conv1.weight"], source.backbone.state_dict()["conv1.weight"])


def test_weights_that_are_not_finite(tmp_path: Path, state: State) -> None:
    broken = state | {"controller.bias": torch.full((169,), float("nan"))}
    with pytest.warns(UserWarning, match="1 of .* tensors have values that are not finite: head.controller.bias"):
        condinst.load(save(broken, tmp_path / "a.pth"))


def test_weights_of_whole_numbers(tmp_path: Path, state: State) -> None:
    quantised = state | {"controller.bias": torch.zeros(169, dtype=torch.int8)}
    with pytest.raises(CheckpointError, match=r"1 not of real numbers: head.controller.bias \(int8\)"):
        condinst.load(save(quantised, tmp_path / "a.pth"))
