"""Times an operator on every backend against two baselines, and keeps the rows.

The variants take turns within each round, so that a disturbance hits all of them: the ratios of one run can be trusted
where its times cannot. No variant is timed before it agrees with the reference.
"""

from __future__ import annotations

import csv
import datetime
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from condinst.backends import BACKENDS, backend_table
from condinst.backends.registry import DEVICES
from condinst.testing import OpSpec, Sample, check, check_sample

RESULTS = Path(__file__).parent / "results"
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One timing. `ratio` is the reference's median over this one's; `floor_ms` the bytes over the bandwidth."""

    date: str
    commit: str
    torch: str
    cuda: str
    device: str
    threads: int
    op: str
    backend: str
    dtype: str
    sample: str
    direction: str
    p20_ms: float
    p50_ms: float
    p80_ms: float
    ratio: float
    floor_ms: float
    peak_mib: float


def device_name(device: torch.device) -> str:
    """The model of the GPU, or of the CPU with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    models = re.findall(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    return f"{models[0] if models else platform.machine()}, {torch.get_num_threads()} threads"


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _peak_mib(call: Callable[[], object], device: torch.device) -> float:
    """Memory that one call holds at its peak, as PyTorch's allocators count it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    kineto = profiler.profiler
    assert kineto is not None and kineto.kineto_results is not None
    changes = [event for event in kineto.kineto_results.events() if event.name() == "[memory]"]
    held = accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    return max(held, default=0) / MIB


def _bytes_per_second(device: torch.device) -> float:
    """The best rate seen for reading a quarter of a gigabyte."""
    data = torch.ones(2**26, device=device)
    return data.numel() * data.element_size() / min(_seconds(data.sum, device) for _ in range(10))


def _call(spec: OpSpec, function: Callable[..., Any], sample: Sample, direction: str) -> Callable[[], object]:
    if direction == "forward":
        return lambda: function(*sample.args, **sample.kwargs)
    args = spec.with_gradients(sample.args)
    wanted = [arg for arg in args if isinstance(arg, Tensor) and arg.requires_grad]
    return lambda: torch.autograd.grad(function(*args, **sample.kwargs).sum(), wanted)


def _variants(spec: OpSpec, device: torch.device) -> dict[str, Callable[..., Any]]:
    """The baselines, then every other backend that can run here."""

    def on(backend: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: spec.op(*args, **kwargs, backend=backend)

    available = {row.backend for row in backend_table() if row.op == spec.name and row.status == "available"}
    kernels = [b for b in BACKENDS if b in available and device.type in DEVICES.get(b, ())]
    variants: dict[str, Callable[..., Any]] = {"reference": on("reference")}
    variants["torch.compile(reference)"] = torch.compile(spec.reference, dynamic=False)
    return variants | {backend: on(backend) for backend in kernels}


def refuse_unless_equal(spec: OpSpec, backend: str, device: torch.device) -> None:
    """Stop the benchmark when a backend disagrees with the reference on any sample."""
    try:
        check(spec, backend, device)
        for dtype in spec.dtypes[:1]:
            for sample in spec.benchmark_samples(dtype, device):
                check_sample(spec, backend, sample)
    except AssertionError as error:
        raise SystemExit(f"not timed: {spec.name} on {backend} disagrees with the reference\n{error}") from error


def benchmark(
    spec: OpSpec,
    bytes_moved: Callable[[Sample], Mapping[str, int]],
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16, torch.float16),
    rounds: int = 15,
) -> list[Row]:
    """Time `spec` on the GPU when there is one, otherwise on the CPU; print a table and append to the results.

    Args:
        spec: the operator.
        bytes_moved: what a sample must at least read and write, by direction ("forward", "training").
        dtypes: of the samples.
        rounds: timings of each variant.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    variants = _variants(spec, device)
    for backend in variants:
        if backend in BACKENDS:
            refuse_unless_equal(spec, backend, device)

    rate = _bytes_per_second(device)
    about = {
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "op": spec.name,
    }
    rows: list[Row] = []
    for dtype in dtypes:
        for sample in spec.benchmark_samples(dtype, device):
            for direction, moved in bytes_moved(sample).items():
                calls = {name: _call(spec, function, sample, direction) for name, function in variants.items()}
                peaks = {name: (call(), _peak_mib(call, device))[1] for name, call in calls.items()}
                times: dict[str, list[float]] = {name: [] for name in calls}
                for _ in range(rounds):
                    for name, call in calls.items():
                        times[name].append(_seconds(call, device))
                reference_median = statistics.median(times["reference"])
                for name, seconds in times.items():
                    p20, p50, p80 = (statistics.quantiles(seconds, n=10)[i] for i in (1, 4, 7))
                    rows.append(
                        Row(
                            **about,  # type: ignore[arg-type]
                            backend=name,
                            dtype=str(dtype).removeprefix("torch."),
                            sample=sample.name,
                            direction=direction,
                            p20_ms=round(p20 * 1e3, 4),
                            p50_ms=round(p50 * 1e3, 4),
                            p80_ms=round(p80 * 1e3, 4),
                            ratio=round(reference_median / p50, 2),
                            floor_ms=round(moved / rate * 1e3, 4),
                            peak_mib=round(peaks[name], 1),
                        )
                    )
                    _print(rows[-1])
    _write(rows)
    return rows


def _print(row: Row) -> None:
    print(
        f"{row.op} {row.sample:>12} {row.dtype:>9} {row.direction:>8} {row.backend:>24}: "
        f"{row.p50_ms:9.3f} ms  {row.ratio:6.2f} x reference  "
        f"{row.p50_ms / row.floor_ms:6.2f} x floor  peak {row.peak_mib:7.1f} MiB",
        flush=True,
    )


def _write(rows: list[Row]) -> None:
    machine = re.sub(r"[^a-z0-9]+", "-", rows[0].device.lower()).strip("-")
    path = RESULTS / f"{machine}.csv"
    new = not path.exists()
    RESULTS.mkdir(exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(asdict(rows[0])), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    print(f"{len(rows)} rows added to benchmarks/results/{path.name}")
