"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

# pytest-xdist's processes share the cores; threads that wait for one another would take them away
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
torch.set_num_threads(max(1, torch.get_num_threads() // _PROCESSES))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` where there is no CUDA device, and begin with those marked `slow`.

    Several processes share the tests. One that begins a test of minutes at the end lets the others wait.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Newly allocated memory is NaN (or the largest integer), so that an element nobody wrote is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(8).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def keep_threads() -> Iterator[None]:
    """Puts the number of threads back after a test that changes it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
