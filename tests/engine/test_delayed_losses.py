"""When the losses of a step are read, and where a run ends that was asked to stop."""

from __future__ import annotations

import pytest
import torch

from condinst.engine.delayed_losses import DelayedLosses, StepLosses


def read_steps(delay: int, steps: int, *, flushed: tuple[int, ...] = (), stop_in: int = 0) -> list[list[int]]:
    """The steps whose losses are read after each step of a run."""
    queue = DelayedLosses(delay=delay, last_step=steps)
    reads: list[list[int]] = []
    while len(reads) < queue.last_step:
        step = len(reads) + 1
        queue.add(StepLosses(step, [], torch.zeros(1), [], 0.0, 0.0))
        reads.append([])
        for losses in queue.due(flush=step in flushed):
            reads[-1].append(losses.step)
            if stop_in and losses.step >= stop_in:
                queue.stop(losses)
    return reads


def test_without_delay_each_step_is_read_at_once() -> None:
    assert read_steps(0, 3) == [[1], [2], [3]]
    assert read_steps(0, 9, stop_in=2) == [[1], [2]]


def test_with_delay_the_last_step_reads_all() -> None:
    assert read_steps(1, 4) == [[], [1], [2], [3, 4]]
    assert read_steps(1, 1) == [[1]]
    assert read_steps(1, 5, flushed=(3,)) == [[], [1], [2, 3], [], [4, 5]]


@pytest.mark.parametrize("flushed", [(), (2,), (3,), (2, 3)])
def test_a_request_ends_all_processes_at_the_same_step(flushed: tuple[int, ...]) -> None:
    """A process reads early what another reads late, for example because it saves."""
    reads = read_steps(1, 9, flushed=flushed, stop_in=2)
    assert len(reads) == 3 and sum(reads, []) == [1, 2, 3]
