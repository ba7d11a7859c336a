"""How far the recorded gradient norms move when float32 rounds in another way, and why.

``PYTHONPATH=benchmarks python -m tests.goldens.gradient_spread``, in the root of the repository, takes the recorded
training steps with sums in many other orders and writes the table into docs/compatibility.md. The limits in
tests/models/test_goldens.py rest on it. ``ONEDNN_MAX_CPU_ISA=AVX2`` before it takes away a CPU's newer instructions.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import condinst
from condinst import CondInst
from condinst.benchmarking.machine import about
from condinst.benchmarking.tables import TextTable
from studies.pages import replace_block
from tests.goldens.recipe import load_golden, load_recorded
from tests.goldens.rounding import ReluSides, Reordered, Winograd
from tests.goldens.training import TRAININGS, Golden, TrainingStep, deviations, deviations_of_norms, take_step

PAGE = Path(__file__).resolve().parents[2] / "docs/compatibility.md"


@dataclass
class Spread:
    """Relative deviations of the gradients of one step.

    Args:
        largest: from the recording, of a single norm.
        ninth: from the recording, which nine of ten norms do not exceed.
        median: from the recording, of the norms.
        others: values of ReLUs that are not on the side of the first step.
        same_sides: from the first step, of a whole gradient, when these are put on its side.
        same_but_in_mask_heads: the same, with the ReLUs inside the mask heads left alone.
    """

    largest: float
    ninth: float
    median: float
    others: int
    same_sides: float
    same_but_in_mask_heads: float


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12, help="how many random orders, and how many changed weights")
    seeds = parser.parse_args().seeds
    found: dict[str, list[Spread]] = {}
    in_mask_heads = []
    num_values = 0
    with condinst.use_backend("reference"), use_threads(1):
        for recording in TRAININGS:
            golden = load_golden(recording)
            model = load_recorded(golden, **TRAININGS[recording])
            with ReluSides(mask_heads=True) as first:
                expected = take_step(model, golden)
            num_values = max(num_values, sum(side.numel() for side in first.sides))
            largest = 0.0
            for name, change in changes(model, seeds):
                with change:
                    spread = measure(model, golden, first, expected)
                found.setdefault(name, []).append(spread)
                largest = max(largest, spread.same_but_in_mask_heads)
                print(f"{recording}, {name}: {spread}", flush=True)
            in_mask_heads.append(f"{largest:.1e} (`{recording}`)")
    replace_block(PAGE, "golden gradients", [table(found).markdown(), footer(num_values, in_mask_heads)])
    print(f"{PAGE} written")


def changes(model: CondInst, seeds: int) -> Iterator[tuple[str, AbstractContextManager[object]]]:
    """Names of ways to round differently, and what brings each about while a model takes its step."""
    yield "nothing: 1 thread", nullcontext()
    yield "2 threads", use_threads(2)
    yield "PyTorch's own convolutions in place of oneDNN's", torch.backends.mkldnn.flags(enabled=False)
    yield "channels_last", channels_last(model)
    yield "Winograd's 3x3 convolutions", Winograd()
    for seed in range(seeds):
        yield "sums of convolutions and norms in random orders", Reordered(seed)
    for seed in range(seeds):
        yield "each weight one float32 number up or down", changed_weights(model, seed)
    yield "float64", double(model)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """So many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@contextmanager
def channels_last(model: CondInst) -> Iterator[None]:
    """Convolutions with the channels of a cell side by side in memory."""
    model.to(memory_format=torch.channels_last)
    yield
    model.to(memory_format=torch.contiguous_format)


@contextmanager
def double(model: CondInst) -> Iterator[None]:
    """Everything in float64, with the weights that the float32 model has."""
    model.double()
    yield
    model.float()


@contextmanager
def changed_weights(model: CondInst, seed: int) -> Iterator[None]:
    """Each weight is the next float32 number above or below it: as if it had been rounded in the other direction."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            up = torch.rand(parameter.shape, generator=generator) < 0.5
            parameter.copy_(parameter.nextafter(torch.where(up, torch.inf, -torch.inf)))
    yield
    model.load_state_dict(before)


def measure(model: CondInst, golden: Golden, first: ReluSides, expected: TrainingStep) -> Spread:
    """Take a step as it comes, and with the ReLUs on the sides of the first one, which gave `expected`."""
    found = deviations_of_norms(take_step(model, golden), golden)
    with ReluSides(first.sides, mask_heads=True) as imposed:
        same_sides = deviations(take_step(model, golden), expected)
    with ReluSides(first.sides):
        same_but_in_mask_heads = deviations(take_step(model, golden), expected)
    return Spread(
        largest=float(found.max()),
        ninth=float(np.quantile(found, 0.9)),
        median=float(np.median(found)),
        others=imposed.count_others(),
        same_sides=float(same_sides.max()),
        same_but_in_mask_heads=float(same_but_in_mask_heads.max()),
    )


def table(found: dict[str, list[Spread]]) -> TextTable:
    """One line for each change, the largest of its steps."""
    columns = ["changed", "steps", "largest", "nine of ten within", "median", "ReLU values", "same sides, largest"]
    cells = []
    for name, spreads in found.items():
        figures = [
            f"{max(getattr(spread, field) for spread in spreads):.1e}"
            for field in ("largest", "ninth", "median", "same_sides")
        ]
        others = [spread.others for spread in spreads]
        cells.append([name, str(len(spreads)), *figures[:3], f"{min(others)} to {max(others)}", figures[3]])
    return TextTable("Relative deviations of gradients, the largest of all steps", columns, cells)


def footer(num_values: int, in_mask_heads: list[str]) -> str:
    """What was measured where, and the same sides but in mask heads."""
    machine = about(torch.device("cpu"))
    text = (
        f"A step has up to {num_values:,} ReLU values. If those inside the mask heads are left alone, *same sides,"
        f" largest* is {', '.join(in_mask_heads)}. Measured on {machine['device']}, torch {machine['torch']},"
        f" commit {machine['commit']}, {str(machine['date'])[:10]}."
    )
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
