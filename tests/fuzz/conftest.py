"""How a fuzz test runs: a fixed set of examples in `make test`, new ones for a while in `make fuzz`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from tests.memory import memory_limit

SEED_EXAMPLES = 30
"""Examples of a test in `make test`."""

SECONDS = float(os.environ.get("FUZZ_SECONDS", 0))
"""How long each test goes on with new examples; 0 for the fixed set."""

LAST = os.environ.get("FUZZ_LAST")
"""A file that gets each example before it is tried, so that it is known after a crash."""

ADDRESS_SPACE = 4 << 30
"""Bytes that an example may ask for beyond what the process has: more is a finding and not a machine without memory."""

Fuzz = Callable[[st.SearchStrategy[Any], Callable[[Any], None]], None]

_SETTINGS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "phases": (Phase.generate, Phase.shrink),
    "suppress_health_check": list(HealthCheck),  # the time that drawing takes, and how much is filtered
    "verbosity": Verbosity.quiet,  # the example stands in a note of the exception, shorter than hypothesis prints it
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `make fuzz` goes on with."""
    for item in items:
        if "fuzz" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.fuzz)


@pytest.fixture
def fuzz(record_property: Callable[[str, object], None]) -> Fuzz:
    """Runs ``check(example)`` for examples of a strategy, and reports how many it were."""

    def run(strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
        calls = 0

        def count_and_check(example: Any) -> None:
            nonlocal calls
            calls += 1
            described = str(getattr(example, "name", example))
            if LAST:
                Path(LAST).write_text(described)
            try:
                check(example)
            except Exception as error:
                error.add_note(f"the example: {described}")
                raise

        end = time.monotonic() + SECONDS
        examples = settings(max_examples=200 if SECONDS else SEED_EXAMPLES, derandomize=not SECONDS, **_SETTINGS)
        while True:
            examples(given(strategy)(lambda example: count_and_check(example)))()  # takes a new function each time
            if time.monotonic() >= end:
                break
        record_property("calls", calls)

    return run


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """An example that asks for more than `ADDRESS_SPACE` gets an error."""
    if "libasan" in os.environ.get("LD_PRELOAD", ""):  # whose shadow takes terabytes of addresses
        yield
        return
    with memory_limit(ADDRESS_SPACE):
        yield
