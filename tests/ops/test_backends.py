"""The parameters of tests/ops/backends.py on a machine with a GPU, which a table of backends stands in for."""

from __future__ import annotations

from typing import Any

import pytest

from condinst.backends.registry import BackendStatus
from tests.ops import backends


def _marks(params: list[Any]) -> dict[str, list[str]]:
    return {param.values[0]: [mark.name for mark in param.marks] for param in params}


def test_what_computes_on_a_gpu_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [BackendStatus("nms", backend, "available", "") for backend in ("reference", "cpp", "cuda", "triton")]
    rows += [BackendStatus("dice_loss", "cpp", "available", ""), BackendStatus("dice_loss", "cuda", "not built", "")]
    monkeypatch.setattr(backends, "backend_table", lambda: rows)
    monkeypatch.setattr(backends, "DEVICES", {"cpp": ("cpu",), "cuda": ("cuda",), "triton": ("cuda",)})
    marks = {"reference": [], "cpp": [], "cuda": ["gpu"], "triton": ["gpu"]}
    assert _marks(backends.backends_of("nms")) == marks
    assert _marks(backends.backends_of("nms", without="reference")).keys() == marks.keys() - {"reference"}
    assert _marks(backends.backends_of("dice_loss")) == {"cpp": []}
    assert backends.cpu_backends_of("nms") == ["reference", "cpp"]
    monkeypatch.setattr(backends, "DEVICES", {"cpp": ("cpu",), "cuda": ("cuda",), "triton": ("cpu",)})  # interpreted
    assert _marks(backends.backends_of("nms")) == marks | {"triton": []}
    assert backends.cpu_backends_of("nms", without="reference") == ["cpp", "triton"]
