"""Rows of results: one variant at one setting."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from .timing import Times


@dataclass(frozen=True)
class Row:
    """One variant at one setting.

    Attributes:
        date, commit, torch, cuda, device, threads: see `condinst.benchmarking.machine.about`.
        op: the operator.
        study: varied quantity: "operator" (dtype and direction), "instances", "depth", "width", "factor", "training".
        sample: the setting, such as "depth 2".
        num_instances: number of instances of the call; None if it has no instances.
        variant: a backend, or the name of a baseline.
        dtype: dtype of features or masks.
        direction: "forward" or "training" (forward and backward).
        p20_ms, p50_ms, p80_ms: milliseconds of wall time of a call: a fifth, half and four fifths of the rounds took
            less.
        ms_per_instance: `p50_ms` over `num_instances`.
        baseline: the variant that `ratio` refers to.
        ratio: median wall time of the baseline over that of this row; None if the baseline was not measured.
        floor_ms: the least time of the machine, by the bytes it must move and the operations it must do.
        peak_mib: memory beyond the arguments, by PyTorch's allocators.
        resident_mib: the same by the operating system; None if it was not measured.
        device_ms: median milliseconds of a GPU between events around the call, see `Times`; None on a CPU.
        graph_ms: the same for a replay in a CUDA graph; None on a CPU and if the call cannot be recorded.
    """

    date: str
    commit: str
    torch: str
    cuda: str
    device: str
    threads: int
    op: str
    study: str
    sample: str
    num_instances: int | None
    variant: str
    dtype: str
    direction: str
    p20_ms: float
    p50_ms: float
    p80_ms: float
    ms_per_instance: float | None
    baseline: str
    ratio: float | None
    floor_ms: float
    peak_mib: float
    resident_mib: float | None
    device_ms: float | None = None
    graph_ms: float | None = None

    @property
    def computing_ms(self) -> float:
        """The time to compare with `floor_ms`: the measurement with the least influence of the host."""
        return next(ms for ms in (self.graph_ms, self.device_ms, self.p50_ms) if ms is not None)


def three_digits(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def times_text(row: Row, scale: float = 1.0) -> str:
    """Milliseconds of wall time; on a GPU also milliseconds between events, and of a replay in a CUDA graph."""
    measured = [row.p50_ms] if row.device_ms is None else [row.p50_ms, row.device_ms, row.graph_ms]
    return " / ".join("-" if ms is None else three_digits(scale * ms) for ms in measured)


def make_rows(
    shared: Mapping[str, object],
    times: Mapping[str, Times],
    *,
    baseline: str,
    floor_seconds: float,
    peaks_mib: Mapping[str, float],
    resident_mib: Mapping[str, float | None],
    num_instances: int | None,
) -> list[Row]:
    """One row per variant of a setting; `shared` are the fields that all rows share."""
    medians = {variant: statistics.median(measured.wall) for variant, measured in times.items()}
    rows = []
    for variant, measured in times.items():
        p20, p50, p80 = (statistics.quantiles(measured.wall, n=10, method="inclusive")[i] for i in (1, 4, 7))
        resident = resident_mib.get(variant)
        row = Row(
            **shared,  # type: ignore[arg-type]
            num_instances=num_instances,
            variant=variant,
            p20_ms=round(p20 * 1e3, 4),
            p50_ms=round(p50 * 1e3, 4),
            p80_ms=round(p80 * 1e3, 4),
            ms_per_instance=round(p50 * 1e3 / num_instances, 5) if num_instances else None,
            baseline=baseline,
            ratio=round(medians[baseline] / p50, 2) if baseline in medians else None,
            floor_ms=_milliseconds(floor_seconds),
            peak_mib=round(peaks_mib[variant], 1),
            resident_mib=None if resident is None else round(resident, 1),
            device_ms=_milliseconds(statistics.median(measured.device)) if measured.device else None,
            graph_ms=_milliseconds(statistics.median(measured.graph)) if measured.graph else None,
        )
        rows.append(row)
    return rows


def _milliseconds(seconds: float) -> float:
    """Five significant digits, because a floor on a GPU can be a few nanoseconds."""
    return float(f"{seconds * 1e3:.5g}")
