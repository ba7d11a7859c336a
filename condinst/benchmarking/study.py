"""Measures the settings of a study one after the other: equality, memory, then times of all variants in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .machine import about, multiply_adds_per_second
from .memory import allocator_peak_mib, resident_peak_mib
from .results import Row, make_rows
from .timing import Call, clock_for, take_turns

FILL = "fill"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class NotMeasured:
    """A variant that was left out at a setting, and why."""

    study: str
    sample: str
    num_instances: int
    variant: str
    reason: str

    def __str__(self) -> str:
        return f"{self.variant} with {self.num_instances} instances: not measured, {self.reason}"


@dataclass(frozen=True)
class Limits:
    """Limits: a call that is expected, from the previous setting, to exceed them is left out.

    Attributes:
        seconds_per_call: seconds of a call.
        mib_per_call: peak of the allocators in a call.
        seconds_per_setting: after this time no new round of a setting begins.
    """

    seconds_per_call: float = 3.0
    mib_per_call: float = 8192.0
    seconds_per_setting: float = 6.0


@dataclass(frozen=True)
class Setting:
    """One point of a study.

    Attributes:
        study, sample, num_instances: see `Row`.
        multiply_adds: the least multiply-adds of any implementation.
        output_shape: shape of the output that must be written to new memory, or None if it is negligible.
        measure_resident: whether to start a process for each variant, to measure its memory from outside.
    """

    study: str
    sample: str
    num_instances: int
    multiply_adds: int
    output_shape: tuple[int, ...] | None
    measure_resident: bool


class Study:
    """Measures the settings of a run, and collects the rows.

    The floor of a setting is the larger of two times: its multiply-adds at the rate of a large matrix product, and
    writing its output once to new memory, which is timed in turn with the variants.
    """

    def __init__(
        self,
        op: str,
        direction: str,
        baseline: str,
        device: torch.device,
        *,
        rounds: int,
        limits: Limits,
        progress: Progress,
    ) -> None:
        self.about = about(device)
        self.multiply_adds_per_second = multiply_adds_per_second(device)
        self.rows: list[Row] = []
        self.not_measured: list[NotMeasured] = []
        self._fields = {**self.about, "op": op, "dtype": "float32", "direction": direction}
        self._baseline = baseline
        self._device = device
        self._clock = clock_for(device)
        self._rounds = rounds
        self._limits = limits
        self._progress = progress
        self._before: dict[tuple[str, str], Row] = {}

    def measure(
        self,
        setting: Setting,
        variants: list[str],
        make_call: Callable[[str], Call],
        check: Callable[[str, object], None],
    ) -> None:
        """Measure the variants of a setting and add their rows.

        Args:
            setting: the point; the points of a study must come with rising numbers of instances.
            variants: names of the variants.
            make_call: takes a name and returns the call; can be pickled.
            check: takes a name and the result of its call; raises AssertionError if the result is wrong.

        Raises:
            ValueError: a variant gives wrong results.
        """
        torch._dynamo.reset()  # otherwise Dynamo would fall back to eager code after a few shapes of a function
        what = f"{setting.study}: {setting.sample}"
        calls = {}
        for variant in variants:
            self._progress(f"{what}, {variant}: first call and check")
            reason = self._reason_against(setting, variant)
            if reason is not None:
                left_out = NotMeasured(setting.study, setting.sample, setting.num_instances, variant, reason)
                self.not_measured.append(left_out)
                continue
            calls[variant] = make_call(variant)
            try:
                check(variant, calls[variant]())
            except AssertionError as error:
                raise ValueError(f"not timed: {variant} at {what} disagrees with the reference: {error}") from error
        self._progress(f"{what}: memory")
        peaks = {variant: allocator_peak_mib(call, self._device) for variant, call in calls.items()}
        from_outside = setting.measure_resident and self._device.type == "cpu"
        resident = {variant: resident_peak_mib(make_call, variant) if from_outside else None for variant in calls}
        self._progress(f"{what}: times")
        floor = setting.multiply_adds / self.multiply_adds_per_second
        turns = dict(calls)
        if setting.output_shape is not None:
            turns[FILL] = self._fill(setting.output_shape)
        times = take_turns(turns, self._clock, self._rounds, self._limits.seconds_per_setting)
        if FILL in times:
            floor = max(floor, statistics.median(times.pop(FILL).computing))
        new = make_rows(
            {**self._fields, "study": setting.study, "sample": setting.sample},
            times,
            baseline=self._baseline,
            floor_seconds=floor,
            peaks_mib=peaks,
            resident_mib=resident,
            num_instances=setting.num_instances,
        )
        self._before |= {(setting.study, row.variant): row for row in new}
        self.rows += new

    def _fill(self, shape: tuple[int, ...]) -> Call:
        def fill() -> Tensor:
            return torch.full(shape, 0.5, device=self._device)

        fill()
        return fill

    def _reason_against(self, setting: Setting, variant: str) -> str | None:
        """Why the call would exceed a limit, in proportion to the last measured call; or None."""
        before = self._before.get((setting.study, variant))
        left_out = [r for r in self.not_measured if (r.study, r.variant) == (setting.study, variant)]
        if left_out:
            return left_out[-1].reason
        if before is None:
            return None
        growth = setting.num_instances / max(before.num_instances or 1, 1)
        seconds, mib = before.p50_ms * growth / 1e3, before.peak_mib * growth
        if seconds > self._limits.seconds_per_call:
            return f"about {seconds:.0f} s a call foreseen, limit {self._limits.seconds_per_call:g} s"
        if mib > self._limits.mib_per_call:
            return f"about {mib / 1024:.0f} GiB foreseen, limit {self._limits.mib_per_call / 1024:g} GiB"
        return None
