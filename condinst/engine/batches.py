"""The batches of a loader whose workers end with it, and what to do where they fail for want of something."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_TOO_MANY_FILES = ("ancdata", "Too many open files")
_NO_SHARED_MEMORY = ("unable to allocate shared memory", "insufficient shared memory", "unable to mmap", "Bus error")
_KILLED = ("killed by signal", "exited unexpectedly")


@contextlib.contextmanager
def running_batches(loader: DataLoader[Any]) -> Iterator[Iterator[Any]]:
    """Yields the batches of a loader. Its workers have ended when the ``with`` block has.

    Otherwise Python ends them when it exits, and then the loader may raise an error about it after all was well.
    """
    with _named_limits(loader.num_workers):
        batches = iter(loader)
    try:
        yield batches
    finally:
        shut_down = getattr(batches, "_shutdown_workers", None)  # only where there are workers
        if shut_down is not None:
            shut_down()


def next_batch(batches: Iterator[Any], workers: int) -> Any:
    """The next batch.

    Raises:
        OSError: the workers ran out of file descriptors, shared memory or memory; the message names the limit.
    """
    with _named_limits(workers):
        return next(batches)


@contextlib.contextmanager
def _named_limits(workers: int) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        limit = missing_resource(error, workers)
        if limit is None:
            raise
        raise OSError(limit) from error


def is_out_of_files(error: BaseException) -> bool:
    """Whether a process may open no more files, which is not the fault of the file that it opens."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def missing_resource(error: BaseException, workers: int) -> str | None:
    """What the loader ran out of and what helps, by an error of it; None where it is about something else."""
    text = str(error)
    fewer = f"fewer workers (num_workers, now {workers}) or a smaller batch_size"
    if is_out_of_files(error) or any(words in text for words in _TOO_MANY_FILES):
        now = "" if resource is None else f", now {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
        return (
            f"num_workers: too many open files between the workers and the training: raise `ulimit -n`{now}, or {fewer}"
        )
    if any(words in text for words in _NO_SHARED_MEMORY):
        return f"num_workers: the shared memory (/dev/shm) is full: enlarge it (docker run --shm-size), or take {fewer}"
    if any(words in text for words in _KILLED):
        reason = text.partition("\n")[0]
        return f"num_workers: a worker was ended, mostly because memory ran out: take {fewer}: {reason}"
    return None
