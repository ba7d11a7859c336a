"""Losses that are read some steps after they were computed, so that reading them does not block the GPU."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class StepLosses:
    """The losses of an optimizer step that the device may still be working on.

    Args:
        step: its number, from 1.
        names: of the losses.
        values: [len(names) + 1] float32, means over the parts of the batch and over the processes. The last value is
            above 0 when a process was asked to stop.
        paths: the images of this process.
        waited: seconds spent waiting for them.
        learning_rate: of the step.
    """

    step: int
    names: list[str]
    values: Tensor
    paths: list[str]
    waited: float
    learning_rate: float


class DelayedLosses:
    """A queue that returns the losses of a step after `delay` more steps, and knows where the run ends.

    A request to stop travels with the losses, as a mean over the processes. It is therefore seen late as well, and the
    run ends a fixed number of steps later, so that all processes end at the same step.

    Args:
        delay: steps between the step and the reading of its losses; 0 where reading does not block.
        last_step: the last step of the run.
    """

    def __init__(self, *, delay: int, last_step: int) -> None:
        self.last_step = last_step
        self._delay = delay
        self._queue: deque[StepLosses] = deque()

    def add(self, losses: StepLosses) -> None:
        """Takes the losses of the newest step."""
        self._queue.append(losses)

    def due(self, *, flush: bool = False) -> Iterator[StepLosses]:
        """Removes and returns the losses to read now, the oldest first: all of them after the last step.

        Args:
            flush: return all of them after any other step, too.
        """
        while self._queue:
            delay = 0 if flush or self._queue[-1].step == self.last_step else self._delay
            if len(self._queue) <= delay:
                return
            yield self._queue.popleft()

    def stop(self, losses: StepLosses) -> None:
        """Ends the run at the first step that is the last one in every process, since `losses` carried the request."""
        self.last_step = min(self.last_step, losses.step + self._delay)
