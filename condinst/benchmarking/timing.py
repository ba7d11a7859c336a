"""Timing of several variants that take turns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

Call = Callable[[], object]

MIN_ROUNDS = 3

logger = logging.getLogger(__name__)


@dataclass
class Times:
    """Seconds of each round of one variant.

    Attributes:
        wall: from the call until the device is done, as a user waits for it.
        device: on a GPU, between events around the call, with a cold L2 cache. Where the host is slower than the
            device, this contains the gaps between launches.
        graph: the same for a replay of the call from a CUDA graph, which has no such gaps; empty where the call cannot
            be recorded.
    """

    wall: list[float] = field(default_factory=list)
    device: list[float] = field(default_factory=list)
    graph: list[float] = field(default_factory=list)

    @property
    def computing(self) -> list[float]:
        """The measurement that has the least of the host in it, to compare with what the device can do at best."""
        return self.graph or self.device or self.wall


class Clock:
    """Times calls that are done when they return, as all are on a CPU."""

    def wall_seconds(self, call: Call) -> float:
        """Duration of one call, until the device is done."""
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def device_seconds(self, call: Call) -> float | None:
        """Duration of one call on a device that works on its own; None where there is no such device."""
        return None

    def record(self, call: Call) -> Call | None:
        """A call that replays the work of `call` without the host; None where there is no such device.

        Raises:
            RuntimeError: the call cannot be recorded.
        """
        return None


class CudaClock(Clock):
    """Times calls on a GPU.

    Args:
        device: the GPU.
    """

    FLUSHED_BYTES = 2**28
    """More than the L2 cache of any GPU (50 MB on an H200)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._flushed = torch.empty(self.FLUSHED_BYTES, dtype=torch.int8, device=device)

    def wall_seconds(self, call: Call) -> float:
        torch.cuda.synchronize(self._device)
        start = time.perf_counter()
        call()
        torch.cuda.synchronize(self._device)
        return time.perf_counter() - start

    def device_seconds(self, call: Call) -> float:
        with torch.cuda.device(self._device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._flushed.zero_()  # replaces what earlier calls left in the L2 cache, and lets the host run ahead
            start.record()
            call()
            end.record()
            end.synchronize()
        return start.elapsed_time(end) / 1e3

    def record(self, call: Call) -> Call:
        # When a recording fails, torch.cuda.graph leaves its own stream the current one; the outer context restores it.
        with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream()):
            self._refuse_to_wait(call)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                call()
        return graph.replay

    def _refuse_to_wait(self, call: Call) -> None:
        """Run `call` on a side stream, as PyTorch asks for before recording; raise RuntimeError where it waits.

        A recording that fails half-way would leave PyTorch's random numbers on the GPU unusable.
        """
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.cuda.stream(stream):
                call()
        finally:
            torch.cuda.set_sync_debug_mode(before)
            torch.cuda.current_stream().wait_stream(stream)


def clock_for(device: torch.device) -> Clock:
    """What times calls on a device."""
    return CudaClock(device) if device.type == "cuda" else Clock()


def take_turns(
    calls: Mapping[str, Call], clock: Clock, rounds: int, seconds_at_most: float = float("inf")
) -> dict[str, Times]:
    """Time all variants once in each round, so that a disturbance hits all of them.

    The ratios of one run can then be trusted where its times cannot.

    Args:
        calls: what to time, by name; called before, so that nothing is compiled or loaded here.
        clock: of the device that computes.
        rounds: how often.
        seconds_at_most: no new round begins after that time, but there are at least `MIN_ROUNDS` (or `rounds`).

    Returns:
        The times of each variant by name.
    """
    replays = {name: _record(name, call, clock) for name, call in calls.items()}
    times = {name: Times() for name in calls}
    start = time.perf_counter()
    for done in range(rounds):
        if done >= MIN_ROUNDS and time.perf_counter() - start > seconds_at_most:
            break
        for name, call in calls.items():
            times[name].wall.append(clock.wall_seconds(call))
            for found, timed in ((times[name].device, call), (times[name].graph, replays[name])):
                seconds = None if timed is None else clock.device_seconds(timed)
                if seconds is not None:
                    found.append(seconds)
    return times


def _record(name: str, call: Call, clock: Clock) -> Call | None:
    try:
        return clock.record(call)
    except RuntimeError as error:
        logger.warning("%s: no time in a CUDA graph: %s", name, str(error).partition("\n")[0])
        return None
