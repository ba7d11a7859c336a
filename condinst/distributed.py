"""The processes that torchrun starts: how many there are, which one this is, and means over all of them."""

from __future__ import annotations

import os

from torch import Tensor, distributed


def is_launched() -> bool:
    """Whether torchrun, or a launcher like it, has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def launched_rank() -> int:
    """The number that the launcher gave this process, before the processes have joined; 0 without a launcher."""
    return int(os.environ["RANK"]) if is_launched() else 0


def rank() -> int:
    """The number of this process; 0 without torch.distributed."""
    return distributed.get_rank() if _has_joined() else 0


def world_size() -> int:
    """The number of processes; 1 without torch.distributed."""
    return distributed.get_world_size() if _has_joined() else 1


def wait_for_all() -> None:
    """Returns once all processes have come here; at once in a single process."""
    if world_size() > 1:
        distributed.barrier()


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, elementwise; the tensor itself in a single process."""
    if world_size() == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / world_size()


def share_of_total(value: Tensor, least: float) -> Tensor:
    """What each process divides its sum of losses by, so that the mean over them is that of a single process.

    Args:
        value: the count, or the sum of weights, of this process.
        least: of the total over all processes: a total below it counts as `least`.

    Returns:
        The total over the processes, divided by their number.
    """
    return mean_over_processes(value).clamp(min=least / world_size())


def _has_joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()
