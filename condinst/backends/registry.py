"""Which backends exist, which of them implements an operator, and which one a call gets.

An operator file uses it like this, and needs nothing else::

    # condinst/ops/nms/__init__.py
    from condinst.backends import select

    def nms(boxes: Tensor, scores: Tensor, *, threshold: float, backend: str | None = None) -> Tensor:
        ...  # check the arguments
        return select("nms", backend, boxes, scores)(boxes, scores, threshold=threshold)

``select(op, backend, *tensors, **options)`` returns a function with the signature of the operator's reference.
`tensors` and `options` are the arguments that decide what a backend can do; the first tensor's device is the device of
the call.

`condinst.ops` registers all operators, each with its reference first. The table of backends shows "not written yet" for
a backend that is not registered.

The choice is made in this order:

1. the ``backend=`` argument,
2. the innermost ``with condinst.use_backend(name):``,
3. the environment variable ``CONDINST_BACKEND``, read when the package is imported,
4. auto: the first backend of `auto_order` for the operator and device that can do the call. Each backend that is
   skipped is logged once.

A backend that was chosen by name (1-3) and cannot do the call raises ``ValueError`` with the reason. Nothing falls back
after a kernel has started.

Kernels with a gradient have its formula for ``backward()`` and no other derivative. A call in a transform of
``torch.func``, or with a tangent of forward-mode differentiation, gets the reference from auto, and
``NotImplementedError`` from a backend that was chosen by name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condinst.backends.transforms import is_transformed

logger = logging.getLogger(__name__)

BACKENDS = ("reference", "cpp", "cuda", "triton")

NOT_WRITTEN = "not written yet"

BACKWARD_ONLY = (
    "it has the gradients of backward() alone; for torch.func (grad, jvp, vmap, ...) and forward-mode derivatives,"
    " use backend='reference'"
)

TRITON_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Triton's switch for tests: NumPy interprets the kernels, on CPU tensors. Triton also reads it at import."""

DEVICES: dict[str, tuple[str, ...]] = {
    "cpp": ("cpu",),
    "cuda": ("cuda",),
    "triton": ("cpu",) if TRITON_INTERPRETED else ("cuda",),
}
"""The devices a backend computes on. The reference is not listed: it runs wherever PyTorch does."""

AUTO_ORDER: dict[str, tuple[str, ...]] = {
    "cpu": ("cpp", "reference"),
    "cuda": ("cuda", "triton", "reference"),
}
"""The backends by device, the fastest first, by the measurements in benchmarks/results. Others get the reference."""

AUTO_ORDER_OF_OP: dict[tuple[str, str], tuple[str, ...]] = {
    # benchmarks/results/2026-11-28-nvidia-h200.json: NVIDIA H200, 2026-11-28, commit dd8c692, float32 and bool masks
    ("pack_masks", "cuda"): ("triton", "cuda", "reference"),
}
"""The orders of single operators that differ from `AUTO_ORDER`, by operator and device.

An operator is listed here if the first backend of its order was faster in all rows of a measurement, in device time and
in wall time. `sigmoid_focal_loss` is not: its Triton kernel takes less device time, but the call takes more wall time.
"""


@dataclass(frozen=True)
class Implementation:
    """One operator on one backend.

    Attributes:
        call: the function, with the signature of the reference.
        unavailable: why this backend cannot run here at all (library not built, no GPU, ...), or None.
        startup_reason: asks why the backend cannot start on its device, and gets None if it can. Asking may start
            CUDA, so it happens at the first call on that device and not when the package is imported.
        unsupported_reason: given the tensors and options of a call, why this one call cannot be done, or None.
        backward_only: whether the gradient of ``backward()`` is the only derivative it has. An operator without a
            gradient is a constant in every transform, and any backend can compute it there.
    """

    call: Callable[..., Any]
    unavailable: str | None = None
    startup_reason: Callable[[], str | None] | None = None
    unsupported_reason: Callable[..., str | None] | None = None
    backward_only: bool = False

    def reason_against(self) -> str | None:
        """Why this backend cannot run here at all, or None. This may start CUDA."""
        if self.unavailable is not None or self.startup_reason is None:
            return self.unavailable
        return self.startup_reason()


@dataclass(frozen=True)
class BackendStatus:
    """One row of the support table. `reason` says where a backend is available, or why it is unavailable.

    "available" means that the backend loads, that it has a device, and that it starts there. No kernel was launched.
    """

    op: str
    backend: str
    status: str
    reason: str


_implementations: dict[tuple[str, str], Implementation] = {}
_declined: dict[tuple[str, str], str] = {}
_logged: set[str] = set()
# A plain global and not a ContextVar: reading a ContextVar breaks torch.compile(fullgraph=True).
_chosen: str | None = None


def _checked(backend: str, source: str) -> str:
    if backend not in BACKENDS:
        got = repr(backend) if isinstance(backend, str) else type(backend).__name__
        raise ValueError(f"{source}: expected one of {', '.join(BACKENDS)}; got {got}")
    return backend


def _from_environment() -> str | None:
    name = os.environ.get("CONDINST_BACKEND", "auto")
    return None if name in ("", "auto") else _checked(name, "environment variable CONDINST_BACKEND")


# Read only once: torch.compile cannot guard the environment, so compiled code would miss a later change.
_environment = _from_environment()


def ops() -> tuple[str, ...]:
    """Names of all operators."""
    return tuple(op for op, backend in _implementations if backend == "reference")


def register(
    op: str,
    backend: str,
    call: Callable[..., Any],
    *,
    unavailable: str | None = None,
    startup_reason: Callable[[], str | None] | None = None,
    unsupported_reason: Callable[..., str | None] | None = None,
    backward_only: bool = False,
) -> None:
    """Add the implementation of an operator on a backend.

    Args:
        op: name of the operator.
        backend: one of `BACKENDS`; "reference" comes first.
        call: the function, with the signature of the reference.
        unavailable: why it cannot run on this machine at all, or None.
        startup_reason: called before the first call on its device; returns why the backend cannot start, or None.
        unsupported_reason: called with the tensors and options given to `select`; returns why that call cannot be
            done, or None.
        backward_only: see `Implementation`.

    Raises:
        ValueError: `op` has no reference yet, `backend` is unknown, or the pair is registered already.
    """
    _checked(backend, "backend")
    if backend != "reference" and (op, "reference") not in _implementations:
        raise ValueError(f"op: expected one of {', '.join(ops())}, which have a reference; got {op!r}")
    if (op, backend) in _implementations:
        raise ValueError(f"{op} on backend {backend} is registered already")
    _implementations[op, backend] = Implementation(call, unavailable, startup_reason, unsupported_reason, backward_only)


def decline(op: str, backend: str, reason: str) -> None:
    """Record why an operator is not written for a backend. The support table and calls by name show the reason."""
    _declined[op, backend] = reason


def is_written(op: str, backend: str) -> bool:
    """Whether there is an implementation, even if this machine cannot run it."""
    return (op, backend) in _implementations


def _reason_against(op: str, backend: str, tensors: tuple[Tensor, ...], options: dict[str, Any]) -> str | None:
    """Why `backend` cannot do this call, or None."""
    if backend == "reference":
        return None
    implementation = _implementations.get((op, backend))
    if implementation is None:
        return _declined.get((op, backend), NOT_WRITTEN)
    if implementation.unavailable is not None:
        return implementation.unavailable
    for tensor in tensors:
        if tensor.device.type not in DEVICES[backend]:
            return f"computes on {' or '.join(DEVICES[backend])} tensors, got a {tensor.device.type} tensor"
    reason = implementation.reason_against()
    if reason is not None:
        return reason
    return None if implementation.unsupported_reason is None else implementation.unsupported_reason(*tensors, **options)


def auto_order(op: str, device: str) -> tuple[str, ...]:
    """The backends that auto tries for an operator on a device ("cpu", "cuda", ...), the fastest first."""
    return AUTO_ORDER_OF_OP.get((op, device)) or AUTO_ORDER.get(device, ("reference",))


def select(op: str, backend: str | None, *tensors: Tensor, **options: Any) -> Callable[..., Any]:
    """The implementation of an operator for this call; the docstring of the module says how it is chosen.

    Args:
        op: name of the operator.
        backend: one of `BACKENDS`, "auto", or None (the surrounding `use_backend`, the environment, or auto).
        *tensors: at least one; the tensor arguments of the call.
        **options: further arguments of the call that decide what a backend can do.

    Returns:
        A function with the signature of the operator's reference.

    Raises:
        ValueError: the backend chosen by name is unknown or cannot do this call; the message says why.
        NotImplementedError: the backend chosen by name does not have the derivative that this call is part of.
    """
    named = backend or _chosen or _environment
    if named is not None and named != "auto":
        reason = _reason_against(op, _checked(named, "backend"), tensors, options)
        if reason is not None:
            raise ValueError(f"{op}: backend {named!r} cannot do this call: {reason}")
        implementation = _implementations[op, named]
        if implementation.backward_only and is_transformed(*tensors):
            raise NotImplementedError(f"{op}: backend {named!r} cannot do this call: {BACKWARD_ONLY}")
        return implementation.call

    for candidate in auto_order(op, tensors[0].device.type):
        reason = _reason_against(op, candidate, tensors, options)
        if reason is None:
            implementation = _implementations[op, candidate]
            if not (implementation.backward_only and is_transformed(*tensors)):
                return implementation.call
            reason = BACKWARD_ONLY
        _log_once(op, candidate, reason)
    raise AssertionError("the reference takes every call")


def _log_once(op: str, backend: str, reason: str) -> None:
    if torch.compiler.is_compiling():  # Logging would break the graph, so only eager calls log.
        return
    message = f"{op}: backend {backend} passed over: {reason}"
    if message not in _logged:
        _logged.add(message)
        logger.info(message)


@contextmanager
def use_backend(backend: str) -> Iterator[None]:
    """Use one backend for every operator called inside the ``with`` block (a ``backend=`` argument still wins).

    The choice is one global of the process, not of the thread.

    Args:
        backend: one of `BACKENDS`, or "auto".

    Raises:
        ValueError: the name is unknown.
    """
    global _chosen
    if backend != "auto":
        _checked(backend, "backend")
    before, _chosen = _chosen, backend
    try:
        yield
    finally:
        _chosen = before


def backend_table() -> list[BackendStatus]:
    """One row per operator and backend, for ``condinst backends``."""
    rows = []
    for op in ops():
        for backend in BACKENDS:
            implementation = _implementations.get((op, backend))
            if backend == "reference":
                status, reason = "available", "plain PyTorch, any device"
            elif implementation is None:
                status, reason = "unavailable", _declined.get((op, backend), NOT_WRITTEN)
            elif (cannot_run := implementation.reason_against()) is not None:
                status, reason = "unavailable", cannot_run
            else:
                status, reason = "available", f"on {' and '.join(DEVICES[backend])}"
                if backend == "triton" and TRITON_INTERPRETED:
                    reason += ", in Triton's interpreter, which is slow and made for tests"
            rows.append(BackendStatus(op, backend, status, reason))
    return rows
