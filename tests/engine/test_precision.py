"""The precision of a training: what "auto" takes, what is recorded, and what a resumed run may change."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from condinst.data.coco import CocoInstances
from condinst.engine.training import train
from condinst.precision import Precision
from tests.data.synthetic import write_rectangles
from tests.engine.test_training import SHORT, make_student, read_log

WHY = "this CPU has no bfloat16 instructions"


@pytest.fixture
def data(tmp_path: Path) -> CocoInstances:
    return CocoInstances(write_rectangles(tmp_path / "data"), tmp_path / "data" / "images")


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def set_emulated(monkeypatch: pytest.MonkeyPatch, emulated: bool) -> None:
    """Stands in for the question whether this CPU has bfloat16 instructions."""
    monkeypatch.setattr("condinst.precision._why_cpu_emulates_bfloat16", lambda: WHY if emulated else None)


def run(data: CocoInstances, out: Path, precision: Precision, steps: int, *, resume: bool = False) -> torch.dtype:
    """Trains, and returns the type that the network's convolutions computed in."""
    model, seen = make_student(), set()
    model.head.cls_logits.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    config = dataclasses.replace(SHORT, steps=steps, precision=precision, schedule="steps")
    train(model, config, data, out, resume=resume, progress=False)
    (dtype,) = seen
    return dtype


def recorded(out: Path) -> tuple[str, dict[str, Any]]:
    """The precision in the checkpoint and in training.json."""
    settings = json.loads((out / "training.json").read_text())
    return torch.load(out / "last.pt", weights_only=True)["precision_name"], settings["precision"]


@pytest.mark.parametrize(
    ("emulated", "name", "dtype", "reason"),
    [
        (True, "32-true", torch.float32, WHY),
        (False, "bf16-mixed", torch.bfloat16, "this CPU has bfloat16 instructions"),
    ],
)
def test_auto_follows_the_device_and_says_so(
    tmp_path: Path,
    data: CocoInstances,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
    emulated: bool,
    name: str,
    dtype: torch.dtype,
    reason: str,
) -> None:
    set_emulated(monkeypatch, emulated)
    assert run(data, tmp_path / "run", "auto", 1) == dtype
    assert recorded(tmp_path / "run") == (name, {"name": name, "reason": reason, "warning": ""})
    lines = [record for record in log.records if "precision" in record.getMessage()]
    assert [(line.levelname, line.getMessage()) for line in lines] == [("INFO", f"precision {name}: {reason}")]


def test_an_emulated_precision_warns_of_its_cost(
    tmp_path: Path, data: CocoInstances, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    set_emulated(monkeypatch, True)
    assert run(data, tmp_path / "run", "bf16-mixed", 1) == torch.bfloat16
    (warning,) = [record.getMessage() for record in log.records if record.levelno == logging.WARNING]
    assert WHY in warning and "about 17 times as long as 32-true was measured" in warning


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_auto_resumes_with_the_precision_of_the_checkpoint(
    tmp_path: Path, data: CocoInstances, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    set_emulated(monkeypatch, False)
    for folder, steps in (("whole", 3), ("parts", 2)):
        run(data, tmp_path / folder, precision, steps)
    run(data, tmp_path / "parts", "auto", 3, resume=True)  # a new run would take bfloat16
    assert recorded(tmp_path / "parts")[0] == precision
    losses = [[row["loss"] for row in read_log(tmp_path / folder)] for folder in ("whole", "parts")]
    assert losses[0] == losses[1]


def test_auto_does_not_resume_what_would_be_emulated(
    tmp_path: Path, data: CocoInstances, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    set_emulated(monkeypatch, False)
    out = tmp_path / "run"
    run(data, out, "auto", 1)
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    set_emulated(monkeypatch, True)
    with pytest.raises(ValueError, match=rf"precision: expected a name .*got auto: .*with bf16-mixed, and {WHY}"):
        run(data, out, "auto", 2, resume=True)
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before

    log.clear()
    assert run(data, out, "32-true", 2, resume=True) == torch.float32
    assert recorded(out)[0] == "32-true" and "bf16-mixed up to step 1, 32-true from there on" in log.text
    assert run(data, out, "auto", 3, resume=True) == torch.float32


def test_older_checkpoints_need_a_name(tmp_path: Path, data: CocoInstances) -> None:
    out = tmp_path / "run"
    run(data, out, "32-true", 1)
    content = torch.load(out / "last.pt", weights_only=True)
    del content["precision_name"]
    torch.save(content, out / "last.pt")
    with pytest.raises(ValueError, match="got auto: it does not say which precision it was written with"):
        run(data, out, "auto", 2, resume=True)
    assert run(data, out, "32-true", 2, resume=True) == torch.float32


def test_scaled_gradients_need_a_gpu(tmp_path: Path, data: CocoInstances) -> None:
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=r"precision: expected 32-true or bf16-mixed on cpu, got 16-mixed \(chosen"):
        run(data, out, "16-mixed", 1)
    run(data, out, "32-true", 1)
    content = torch.load(out / "last.pt", weights_only=True)
    torch.save(content | {"precision_name": "16-mixed", "precision": {"scale": 65536.0}}, out / "last.pt")
    with pytest.raises(ValueError, match=r"got 16-mixed \(as in .*last.pt\)"):
        run(data, out, "auto", 2, resume=True)
    assert run(data, out, "32-true", 2, resume=True) == torch.float32
