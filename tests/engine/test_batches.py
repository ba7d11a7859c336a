"""How the workers of a loader end, and what is said when they run out of something."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from condinst.engine.batches import missing_resource, next_batch, running_batches

ANCDATA = RuntimeError("received 0 items of ancdata")
IN_WORKER = RuntimeError("Caught OSError in DataLoader worker process 1.\nOSError: [Errno 24] Too many open files: 'a'")
KILLED = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
SHARED = RuntimeError(
    "DataLoader worker is killed by signal: Bus error. It is possible that insufficient shared memory"
)


class Numbers(Dataset[torch.Tensor]):
    """Numbers as tensors, which each take a file descriptor on their way."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(index)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ANCDATA, "ulimit -n"),
        (OSError(24, "Too many open files"), "ulimit -n"),
        (IN_WORKER, "ulimit -n"),
        (KILLED, "memory ran out: .*killed by signal: Killed"),
        (SHARED, "/dev/shm"),
        (RuntimeError("unable to mmap 80 bytes from file </torch_1>: Cannot allocate memory (12)"), "/dev/shm"),
    ],
)
def test_limits_are_named(error: Exception, words: str) -> None:
    def batches() -> object:
        raise error
        yield

    with pytest.raises(OSError, match=f"num_workers: .*{words}"):
        next_batch(batches(), 4)  # type: ignore[arg-type]


def test_other_errors_stay_as_they_are() -> None:
    assert missing_resource(RuntimeError("shapes differ"), 2) is None
    with pytest.raises(StopIteration):
        next_batch(iter([]), 2)


def test_workers_end_with_the_block() -> None:
    for error in (None, ZeroDivisionError):
        with contextlib.suppress(ZeroDivisionError), running_batches(DataLoader(Numbers(), num_workers=2)) as batches:
            next_batch(batches, 2)
            workers = list(batches._workers)  # type: ignore[attr-defined]
            assert all(worker.is_alive() for worker in workers)
            if error is not None:
                raise error
        assert not any(worker.is_alive() for worker in workers)


SCRIPT = """
import resource
from condinst.engine.batches import next_batch, running_batches
from tests.engine.test_batches import Numbers
from torch.utils.data import DataLoader
with running_batches(DataLoader(Numbers(), batch_size=10, num_workers=2, collate_fn=list)) as batches:
    kept = [next_batch(batches, 2)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))  # of this process alone, which keeps what it gets
    while True:
        kept.append(next_batch(batches, 2))
"""


def test_a_low_limit_of_open_files() -> None:
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert "OSError: num_workers: too many open files" in done.stderr and "ulimit -n`, now 60" in done.stderr
