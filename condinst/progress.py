"""The progress bar of everything that takes long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def progress_bar(*, shown: bool) -> Progress:
    """A progress bar on stderr with the time so far and the time that remains; hidden if stderr is no terminal.

    Each task has a field ``text``, which stands after the bar.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),  # a file's name is no markup
        console=console,
        disable=not (shown and console.is_terminal),
        transient=True,
    )


def track(items: Iterable[T], description: str, total: int, *, shown: bool) -> Iterable[T]:
    """Yields the items, with a `progress_bar` of `total` steps."""
    with progress_bar(shown=shown) as bar:
        task = bar.add_task(description, total=total, text="")
        for item in items:
            yield item
            bar.advance(task)
