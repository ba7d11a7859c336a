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
        device: on a GPU, between events around the call, with a cold L2 cache. If the host is slower than the device,
            this contains the gaps between launches.
        graph: the same for a replay of the call from a CUDA graph, which has no such gaps; empty if the call cannot be
            recorded.
    """

    wall: list[float] = field(default_factory=list)
    device: list[float] = field(default_factory=list)
    graph: list[float] = field(default_factory=list)

    @property
    def computing(self) -> list[float]:
        """The measurement with the least influence of the host, to compare with the limits of the device."""
        return self.graph or self.device or self.wall


class Clock:
    """Times calls that are complete when they return, as on a CPU."""

    def wall_seconds(self, call: Call) -> float:
        """Duration of one call, until the device is done."""
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def device_seconds(self, call: Call) -> float | None:
        """Duration of a call on a device that works asynchronously; None without such a device."""
        return None

    def record(self, call: Call) -> Call | None:
        """A call that replays the work of `call` without the host; None without such a device.

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
            self._flushed.zero_()  # clears the L2 cache of earlier calls, and lets the host run ahead
            start.record()
            call()
            end.record()
            end.synchronize()
        return start.elapsed_time(end) / 1e3

    def record(self, call: Call) -> Call:
        # If a recording fails, torch.cuda.graph does not reset the current stream; the outer context restores it.
        with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream()):
            self._refuse_to_wait(call)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                call()
        return graph.replay

    def _refuse_to_wait(self, call: Call) -> None:
        """Run `call` on a side stream, which PyTorch requires before recording; raise RuntimeError if it synchronises.

        A recording that fails midway would leave PyTorch's random number generator on the GPU unusable.
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
    """The clock that times calls on a device."""
    return CudaClock(device) if device.type == "cuda" else Clock()


def take_turns(
    calls: Mapping[str, Call], clock: Clock, rounds: int, seconds_at_most: float = float("inf")
) -> dict[str, Times]:
    """Time all variants once in each round, so that a disturbance hits all of them.

    Then the ratios of a run are reliable even if its times are not.

    Args:
        calls: the calls to time, by name; they have run before, so that nothing is compiled or loaded here.
        clock: clock of the device that computes.
        rounds: number of rounds.
        seconds_at_most: no new round begins after this time, but there are at least `MIN_ROUNDS` (or `rounds`).

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
            for durations, timed in ((times[name].device, call), (times[name].graph, replays[name])):
                seconds = None if timed is None else clock.device_seconds(timed)
                if seconds is not None:
                    durations.append(seconds)
    return times


def _record(name: str, call: Call, clock: Clock) -> Call | None:
    try:
        return clock.record(call)
    except RuntimeError as error:
        logger.warning("%s: no time in a CUDA graph: %s", name, str(error).partition("\n")[0])
        return None
