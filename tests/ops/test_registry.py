"""The choice of a backend: argument, `use_backend`, environment, auto."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
import torch
import torch._dynamo.testing

from condinst import ops, reference
from condinst.backends import BACKENDS, backend_table, registry, select, use_backend

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

    monkeypatch.setattr(reference, "doubled", of_reference, raising=False)
    monkeypatch.setattr(reference, "__all__", [*reference.__all__, "doubled"])
    monkeypatch.setattr(registry, "_implementations", dict(registry._implementations))
    monkeypatch.setattr(registry, "_logged", set())
    registry.register("doubled", "cpp", of_cpp, unsupported_reason=odd)
    registry.register("doubled", "triton", of_cpp, unavailable="Triton is not installed")


def _chosen(backend: str | None, width: int = 4) -> str:
    return select("doubled", backend, torch.rand(1, width)).__name__


def test_auto_takes_the_fastest_and_logs_once_why_it_passes_one_over(
    doubled: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="condinst")
    assert _chosen(None) == "of_cpp"
    assert not caplog.messages
    for _ in range(2):
        assert _chosen(None, width=3) == "of_reference"
    assert caplog.messages == ["doubled: backend cpp passed over: wants an even width"]


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
    assert [(row.op, row.backend) for row in rows] == [(op, b) for op in reference.__all__ for b in BACKENDS]
    assert {row.status for row in rows} <= {"available", "unavailable"}
    assert all(row.reason for row in rows)


def test_public_operators_are_those_with_a_reference() -> None:
    assert ops.__all__ == reference.__all__


@pytest.mark.parametrize(("name", "expected"), [("reference", "reference"), ("auto", None), ("", None)])
def test_environment_variable(name: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDINST_BACKEND", name)
    assert registry._from_environment() == expected


def test_bad_environment_variable_is_refused_at_import() -> None:
    environment = {**os.environ, "CONDINST_BACKEND": "gpu"}
    done = subprocess.run([sys.executable, "-c", "import condinst"], env=environment, capture_output=True, text=True)
    assert "environment variable CONDINST_BACKEND: expected one of" in done.stderr
