"""Times any operator on every backend against its reference and, on a CPU, the compiled reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condinst.benchmarking.machine import about, available_backends, read_bytes_per_second
from condinst.benchmarking.memory import allocator_peak_mib
from condinst.benchmarking.results import Row, make_rows, times_text
from condinst.benchmarking.timing import Call, clock_for, take_turns
from condinst.testing import OpSpec, Sample, check, check_sample

SECONDS_ON_A_GPU = 1.0
"""After that time no new round of a setting begins: minutes on a GPU are few, and its timings differ little."""


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


@dataclass(frozen=True)
class OperatorSetting:
    """One sample in one direction.

    Attributes:
        sample: the call.
        dtype: the name of its dtype, without "torch.".
        direction: "forward" or "training".
        bytes_moved: what must at least be read and written.
    """

    sample: Sample
    dtype: str
    direction: str
    bytes_moved: int


@dataclass(frozen=True)
class Measured:
    """The rows of the variants that agree with the reference, and the errors of those that do not."""

    rows: list[Row]
    refused: list[ValueError]

    def raise_refused(self) -> None:
        """Raise ValueError with all errors, if there are any."""
        if self.refused:
            raise ValueError("\n".join(map(str, self.refused)))


def operator_settings(
    spec: OpSpec,
    bytes_moved: Callable[[Sample], Mapping[str, int]],
    dtypes: Iterable[str],
    device: torch.device,
) -> dict[str, OperatorSetting]:
    """The settings of an operator by name: all samples of its benchmark in all dtypes and directions.

    Args:
        spec: the operator.
        bytes_moved: what a sample must at least read and write, by direction.
        dtypes: names of dtypes.
        device: where the samples are.
    """
    return {
        f"{spec.name}: {sample.name}, {dtype}, {direction}": OperatorSetting(sample, dtype, direction, moved)
        for dtype in dtypes
        for sample in spec.benchmark_samples(getattr(torch, dtype), device)
        for direction, moved in bytes_moved(sample).items()
    }


def measure_operator(
    spec: OpSpec,
    settings: Sequence[OperatorSetting],
    device: torch.device,
    *,
    rounds: int = 15,
    peers: Mapping[str, Callable[..., Any]] | None = None,
) -> Measured:
    """Time an operator on all of its backends, and print each row.

    Args:
        spec: the operator.
        settings: what is timed; there may be none.
        device: where.
        rounds: timings of each variant.
        peers: what others have for the same purpose, by name, with the signature of the reference.

    Raises:
        ValueError: the reference fails on a sample. Another backend that fails is left out.
    """
    rows: list[Row] = []
    refused: list[ValueError] = []
    if not settings:
        return Measured(rows, refused)
    variants = _variants(spec, device) | dict(peers or {})
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
    for setting in settings:
        calls = {name: _call(spec, call, setting.sample, setting.direction) for name, call in variants.items()}
        peaks = {name: (call(), allocator_peak_mib(call, device))[1] for name, call in calls.items()}
        new = make_rows(
            {
                **run,
                "op": spec.name,
                "study": "operator",
                "sample": setting.sample.name,
                "dtype": setting.dtype,
                "direction": setting.direction,
            },
            take_turns(calls, clock, rounds, seconds_at_most),
            baseline="reference",
            floor_seconds=setting.bytes_moved / rate,
            peaks_mib=peaks,
            resident_mib={},
            num_instances=None,
        )
        for row in new:
            _print(row)
        rows += new
    return Measured(rows, refused)


def _print(row: Row) -> None:
    print(
        f"{row.op} {row.sample:>12} {row.dtype:>9} {row.direction:>8} {row.variant:>24}: "
        f"{times_text(row):>9} ms  {row.ratio or 0:6.2f} x {row.baseline}  "
        f"{row.computing_ms / row.floor_ms:6.2f} x floor  peak {row.peak_mib:7.1f} MiB",
        flush=True,
    )
