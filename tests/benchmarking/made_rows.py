"""Rows of results for tests: of two variants, and of a GPU."""

from __future__ import annotations

from dataclasses import replace

from condinst.benchmarking.results import Row, make_rows
from condinst.benchmarking.timing import Times

ABOUT = {
    "date": "2026-01-01T00:00:00",
    "commit": "abc",
    "torch": "2.11",
    "cuda": "",
    "device": "A CPU, 2 threads",
    "threads": 2,
    "op": "dynamic_mask_head",
    "study": "instances",
    "dtype": "float32",
    "direction": "forward",
}


def make_rows_of_two(
    num_instances: int,
    date: str = "2026-01-01T00:00:00",
    cpp: Times | None = None,
    floor_seconds: float = 0.0005,
) -> list[Row]:
    return make_rows(
        {**ABOUT, "date": date, "sample": f"{num_instances} x 4x6"},
        {"grouped convolution": Times([0.004, 0.002, 0.003]), "cpp": cpp or Times([0.001, 0.001, 0.001])},
        baseline="grouped convolution",
        floor_seconds=floor_seconds,
        peaks_mib={"grouped convolution": 8.0, "cpp": 2.0},
        resident_mib={"cpp": 2.5},
        num_instances=num_instances,
    )


def make_gpu_rows() -> list[Row]:
    """Of a call that can be recorded in a CUDA graph, and of one that cannot."""
    graphs: tuple[list[float], ...] = ([0.0321, 0.0323], [])
    times = [Times([0.06, 0.07], [0.0379, 0.0381], graph) for graph in graphs]
    recorded, waits = (make_rows_of_two(10, cpp=cpp, floor_seconds=2.3e-8)[1] for cpp in times)
    return [recorded, replace(waits, variant="cuda")]
