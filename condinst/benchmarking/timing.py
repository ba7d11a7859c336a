"""Timing of several variants that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

Call = Callable[[], object]

MIN_ROUNDS = 3


def seconds(call: Call, device: torch.device) -> float:
    """Duration of one call, until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def take_turns(
    calls: Mapping[str, Call], device: torch.device, rounds: int, seconds_at_most: float = float("inf")
) -> dict[str, list[float]]:
    """Time all variants once in each round, so that a disturbance hits all of them.

    The ratios of one run can then be trusted where its times cannot.

    Args:
        calls: what to time, by name; called before, so that nothing is compiled or loaded here.
        device: which to wait for.
        rounds: how often.
        seconds_at_most: no new round begins after that time, but there are at least `MIN_ROUNDS` (or `rounds`).

    Returns:
        Seconds of each round by name.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    for done in range(rounds):
        if done >= MIN_ROUNDS and time.perf_counter() - start > seconds_at_most:
            break
        for name, call in calls.items():
            times[name].append(seconds(call, device))
    return times
