"""Times any operator on every backend against its reference and, on a CPU, the compiled reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condinst.backends import BACKENDS, backend_table
from condinst.backends.registry import DEVICES
from condinst.testing import OpSpec, Sample, check, check_sample

from .machine import about, read_bytes_per_second
from .memory import allocator_peak_mib
from .results import Row, append_rows, make_rows, times_text
from .timing import Call, clock_for, take_turns

SECONDS_ON_A_GPU = 1.0
"""After that time no new round of a setting begins: minutes on a GPU are few, and its timings differ little."""


def available_backends(op: str, device: torch.device) -> list[str]:
    """The backends that can run an operator on a device; the reference is the first."""
    available = {row.backend for row in backend_table() if row.op == op and row.status == "available"}
    return ["reference"] + [b for b in BACKENDS if b in available and device.type in DEVICES.get(b, ())]


def _call(spec: OpSpec, function: Callable[..., Any], sample: Sample, direction: str) -> Call:
    if direction == "forward":
        return lambda: function(*sample.args, **sample.kwargs)
    args = spec.with_gradients(sample.args)
    wanted = [arg for arg in args if isinstance(arg, Tensor) and arg.requires_grad]
    return lambda: torch.autograd.grad(function(*args, **sample.kwargs).sum(), wanted)


def _variants(spec: OpSpec, device: torch.device) -> dict[str, Callable[..., Any]]:
    def on(backend: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: spec.op(*args, **kwargs, backend=backend)

    variants = {backend: on(backend) for backend in available_backends(spec.name, device)}
    if device.type == "cuda":
        return variants  # to compile every sample would take most of the minutes that there are
    return variants | {"torch.compile(reference)": torch.compile(spec.reference, dynamic=False)}


def refuse_unless_equal(spec: OpSpec, backend: str, device: torch.device) -> None:
    """Raise ValueError when a backend fails or disagrees with the reference on any sample: it must not be timed."""
    try:
        check(spec, backend, device)
        for dtype in spec.dtypes[:1]:
            for sample in spec.benchmark_samples(dtype, device):
                check_sample(spec, backend, sample)
    except AssertionError as error:
        raise ValueError(f"not timed: {spec.name} on {backend} disagrees with the reference\n{error}") from error
    except Exception as error:
        raise ValueError(f"not timed: {spec.name} on {backend} fails: {type(error).__name__}: {error}") from error


def benchmark(
    spec: OpSpec,
    bytes_moved: Callable[[Sample], Mapping[str, int]],
    results: Path,
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16, torch.float16),
    rounds: int = 15,
    peers: Mapping[str, Callable[..., Any]] | None = None,
) -> list[Row]:
    """Time `spec` on the GPU when there is one, otherwise on the CPU; print a table and append to the results.

    Args:
        spec: the operator.
        bytes_moved: what a sample must at least read and write, by direction ("forward", "training").
        results: the folder of the CSV files.
        dtypes: of the samples.
        rounds: timings of each variant.
        peers: what others have for the same purpose, by name, with the signature of the reference.

    Raises:
        ValueError: a backend fails or disagrees with the reference. It is left out; the others were timed.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    variants = _variants(spec, device) | dict(peers or {})
    refused = []
    for backend in available_backends(spec.name, device):
        try:
            refuse_unless_equal(spec, backend, device)
        except ValueError as error:
            if backend == "reference":
                raise
            refused.append(error)
            del variants[backend]
    clock = clock_for(device)
    seconds_at_most = SECONDS_ON_A_GPU if device.type == "cuda" else math.inf
    rate = read_bytes_per_second(device)
    run = about(device)
    rows: list[Row] = []
    for dtype in dtypes:
        for sample in spec.benchmark_samples(dtype, device):
            for direction, moved in bytes_moved(sample).items():
                calls = {name: _call(spec, function, sample, direction) for name, function in variants.items()}
                peaks = {name: (call(), allocator_peak_mib(call, device))[1] for name, call in calls.items()}
                shared = {
                    **run,
                    "op": spec.name,
                    "study": "operator",
                    "sample": sample.name,
                    "dtype": str(dtype).removeprefix("torch."),
                    "direction": direction,
                }
                new = make_rows(
                    shared,
                    take_turns(calls, clock, rounds, seconds_at_most),
                    baseline="reference",
                    floor_seconds=moved / rate,
                    peaks_mib=peaks,
                    resident_mib={},
                    num_instances=None,
                )
                for row in new:
                    _print(row)
                rows += new
    print(f"{len(rows)} rows added to {append_rows(rows, results).name}")
    if refused:
        raise ValueError("\n".join(map(str, refused)))
    return rows


def _print(row: Row) -> None:
    print(
        f"{row.op} {row.sample:>12} {row.dtype:>9} {row.direction:>8} {row.variant:>24}: "
        f"{times_text(row):>9} ms  {row.ratio or 0:6.2f} x {row.baseline}  "
        f"{row.computing_ms / row.floor_ms:6.2f} x floor  peak {row.peak_mib:7.1f} MiB",
        flush=True,
    )
