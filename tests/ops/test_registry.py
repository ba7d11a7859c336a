"""The choice of a backend: argument, `use_backend`, environment, auto."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch._dynamo.testing

from condinst.backends import BACKENDS, backend_table, registry, select, use_backend
from condinst.ops import OPERATORS

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results"
MASKS = torch.rand(2, 3)


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator with a reference, a cpp backend for even widths only and a triton backend without Triton."""

    def of_reference(x: torch.Tensor) -> torch.Tensor:
        return x + x

    def of_cpp(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    def odd(x: torch.Tensor) -> str | None:
        return "wants an even width" if x.shape[-1] % 2 else None

    monkeypatch.setattr(registry, "_implementations", dict(registry._implementations))
    monkeypatch.setattr(registry, "_logged", set())
    registry.register("doubled", "reference", of_reference)
    registry.register("doubled", "cpp", of_cpp, unsupported_reason=odd)
    registry.register("doubled", "triton", of_cpp, unavailable="Triton is not installed")


def _chosen(backend: str | None, width: int = 4) -> str:
    return select("doubled", backend, torch.rand(1, width)).__name__


def test_auto_takes_the_fastest_and_logs_once_why_it_passes_one_over(
    doubled: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="condinst.backends.registry")
    assert _chosen(None) == "of_cpp"
    assert not caplog.messages
    for _ in range(2):
        assert _chosen(None, width=3) == "of_reference"
    assert caplog.messages == ["doubled: backend cpp passed over: wants an even width"]


def test_auto_takes_the_order_of_the_operator(doubled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.AUTO_ORDER_OF_OP, ("doubled", "cpu"), ("reference", "cpp"))
    assert _chosen(None) == "of_reference"
    assert registry.auto_order("doubled", "cuda") == registry.AUTO_ORDER["cuda"]
    assert registry.auto_order("dice_loss", "cpu") == registry.AUTO_ORDER["cpu"]
    assert registry.auto_order("doubled", "meta") == ("reference",)


@pytest.mark.parametrize(("op", "device"), registry.AUTO_ORDER_OF_OP)
def test_the_order_of_an_operator_leaves_no_backend_out(op: str, device: str) -> None:
    order = registry.AUTO_ORDER_OF_OP[op, device]
    assert sorted(order) == sorted(registry.AUTO_ORDER[device]) and order != registry.AUTO_ORDER[device]
    assert all(registry.is_written(op, backend) for backend in order)


def test_the_order_on_a_gpu_follows_the_measurement() -> None:
    """Triton comes first where it was faster than CUDA in each row, in device time and in wall time."""
    times: dict[tuple[str, ...], dict[str, tuple[float, float]]] = {}  # device time and wall time by case and backend
    for row in json.loads((RESULTS / "2026-11-28-nvidia-h200.json").read_text())["rows"]:
        if row["section"] not in ("spec", "focal") or "error" in row:
            continue
        words = (["sigmoid_focal_loss"] if row["section"] == "focal" else []) + row["name"].split()
        for backend in {"cuda", "triton"}.intersection(words):
            case = tuple(word for word in words if word != backend)  # operator, sample, direction
            times.setdefault(case, {})[backend] = (row["graph_us"], row["host_us"])
    pairs = {case: by_backend for case, by_backend in times.items() if len(by_backend) == 2}
    ops_of_pairs = {case[0] for case in pairs}
    assert {"pack_masks", "matrix_nms", "dice_loss", "sigmoid_focal_loss"} <= ops_of_pairs
    for op in ops_of_pairs:
        triton_wins = all(
            triton < cuda
            for case, by_backend in pairs.items()
            if case[0] == op
            for triton, cuda in zip(by_backend["triton"], by_backend["cuda"], strict=True)
        )
        assert registry.auto_order(op, "cuda")[0] == ("triton" if triton_wins else "cuda"), op


@pytest.mark.parametrize(("op", "first"), [("pack_masks", "triton"), ("sigmoid_focal_loss", "cuda")])
def test_auto_on_a_gpu(op: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake tensor stands in for one on a GPU, and functions that say their name for the kernels."""
    monkeypatch.setattr(registry, "DEVICES", {"cpp": ("cpu",), "cuda": ("cuda",), "triton": ("cuda",)})
    stand_ins = {(op, backend): registry.Implementation(lambda name=backend: name) for backend in ("cuda", "triton")}
    monkeypatch.setattr(registry, "_implementations", stand_ins)
    with torch._subclasses.FakeTensorMode():
        tensor = torch.empty(1, device="cuda")
    assert select(op, None, tensor)() == first


def test_a_backend_that_does_not_start(doubled: None, caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    @torch.compiler.assume_constant_result
    def startup_reason() -> str:
        asked.append("cpp")
        return "no compiler"

    registry._implementations["doubled", "cpp"] = registry.Implementation(len, startup_reason=startup_reason)
    with pytest.raises(ValueError, match="got a meta tensor"):
        select("doubled", "cpp", torch.rand(1, 2, device="meta"))
    assert not asked  # by a call that is not for its device
    caplog.set_level(logging.INFO, logger="condinst.backends.registry")
    assert _chosen(None) == "of_reference"
    assert caplog.messages == ["doubled: backend cpp passed over: no compiler"]
    with pytest.raises(ValueError, match="doubled: backend 'cpp' cannot do this call: no compiler"):
        _chosen("cpp")
    rows = {row.backend: (row.status, row.reason) for row in backend_table() if row.op == "doubled"}
    assert rows["cpp"] == ("unavailable", "no compiler")
    assert rows["triton"] == ("unavailable", "Triton is not installed")
    compiled = torch.compile(lambda x: select("doubled", None, x)(x), fullgraph=True, backend="eager")
    assert torch.equal(compiled(torch.ones(1, 2)), torch.full((1, 2), 2.0))


def test_explicit_choice_never_falls_back(doubled: None) -> None:
    assert _chosen("reference") == "of_reference"
    with pytest.raises(ValueError, match="doubled: backend 'cpp' cannot do this call: wants an even width"):
        _chosen("cpp", width=3)
    with pytest.raises(ValueError, match="Triton is not installed"):
        _chosen("triton")
    with pytest.raises(ValueError, match="not written yet"):
        _chosen("cuda")
    with pytest.raises(ValueError, match="computes on cpu tensors, got a meta tensor"):
        select("doubled", "cpp", torch.rand(1, 2, device="meta"))


def test_order_of_precedence(doubled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_environment", "reference")
    assert _chosen(None) == "of_reference"
    with use_backend("cpp"):
        assert _chosen(None) == "of_cpp"
        assert _chosen("reference") == "of_reference"
        with use_backend("auto"):
            assert _chosen(None) == "of_cpp"
    assert _chosen(None) == "of_reference"


def test_use_backend_is_undone_by_an_exception() -> None:
    with pytest.raises(KeyError), use_backend("reference"):
        raise KeyError
    assert registry._chosen is None


@pytest.mark.parametrize("name", ["gpu", "CPP", " "])
def test_unknown_names_are_refused(name: str) -> None:
    with (
        pytest.raises(ValueError, match="backend: expected one of reference, cpp, cuda, triton"),
        use_backend(name),
    ):
        pass
    with pytest.raises(ValueError, match="backend: expected one of reference, cpp, cuda, triton"):
        select("dice_loss", name, MASKS)


def test_registering_twice_or_without_a_reference_is_refused(doubled: None) -> None:
    with pytest.raises(ValueError, match="registered already"):
        registry.register("doubled", "cpp", len)
    with pytest.raises(ValueError, match="op: expected one of"):
        registry.register("no_such_op", "cpp", len)


def test_compiled_code_follows_use_backend(doubled: None) -> None:
    """The choice is a plain global: Dynamo guards it and compiles again when it changes."""

    def double(x: torch.Tensor) -> torch.Tensor:
        return select("doubled", None, x)(x)

    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(double, fullgraph=True, backend=counter)
    x = torch.rand(1, 4)
    torch.testing.assert_close(compiled(x), 2 * x)
    with use_backend("reference"):
        torch.testing.assert_close(compiled(x), x + x)
    assert counter.frame_count == 2


def test_the_table_has_every_operator_on_every_backend() -> None:
    rows = backend_table()
    assert [(row.op, row.backend) for row in rows] == [(op, b) for op in OPERATORS for b in BACKENDS]
    assert {row.status for row in rows} <= {"available", "unavailable"}
    assert all(row.reason for row in rows)


@pytest.mark.parametrize(("name", "expected"), [("reference", "reference"), ("auto", None), ("", None)])
def test_environment_variable(name: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDINST_BACKEND", name)
    assert registry._from_environment() == expected


def test_bad_environment_variable_is_refused_at_import() -> None:
    environment = {**os.environ, "CONDINST_BACKEND": "gpu"}
    done = subprocess.run(
        [sys.executable, "-c", "import condinst.ops"], env=environment, capture_output=True, text=True
    )
    assert "environment variable CONDINST_BACKEND: expected one of" in done.stderr
