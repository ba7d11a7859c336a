"""The arguments that all programs of this folder share, and what they do with them.

Torch is imported after the arguments are read, so that ``--help`` and errors of usage do not wait for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

    from condinst.benchmarking.results import Row
    from condinst.testing import Sample
    from studies.pages import Part

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"

T = TypeVar("T")


def make_parser(
    description: str | None,
    *,
    out: Path | None = RESULTS,
    out_holds: str = "the rows, in one CSV file for each machine",
    threads: bool = True,
) -> argparse.ArgumentParser:
    """A parser with the shared arguments, to which a program can add its own.

    Args:
        description: the docstring of the program, which ``--help`` shows.
        out: the folder that ``--out`` names by default; None where it must be given.
        out_holds: what the program writes there.
        threads: whether the program computes, so that ``--threads`` has a meaning.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", metavar="TEXT", help="only the settings whose name contains TEXT")
    if out is None:
        parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"folder for {out_holds}")
    else:
        shown = "the repository" if out == ROOT else out.relative_to(ROOT)
        text = f"folder for {out_holds}; by default {shown}"
        parser.add_argument("--out", type=Path, default=out, metavar="FOLDER", help=text)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the names of the settings; measure and write nothing"
    )
    if threads:
        parser.add_argument(
            "--threads", type=positive, metavar="N", help="threads of PyTorch on the CPU; by default its own choice"
        )
    return parser


def make_report_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of a program that computes nothing and writes pages."""
    return make_parser(description, out=ROOT, out_holds="docs/ with the pages and pictures", threads=False)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


class Program:
    """One run of a program.

    Args:
        parser: made by `make_parser`.
        words: the arguments; those of the process by default.

    Attributes:
        options: what the parser read.
        out: the folder of ``--out``.
    """

    def __init__(self, parser: argparse.ArgumentParser, words: Sequence[str] | None = None) -> None:
        self.options = parser.parse_args(words)
        self.out: Path = self.options.out

    def device(self) -> torch.device:
        """The GPU if there is one, otherwise the CPU. Sets the number of threads."""
        import torch

        if self.options.threads is not None:
            torch.set_num_threads(self.options.threads)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def choose(self, settings: Mapping[str, T]) -> list[T]:
        """The settings whose names contain the text of ``--filter``.

        Args:
            settings: all that the program can measure or write, by name.

        Raises:
            SystemExit: with ``--dry-run``, after the names are printed; or no name contains the text.
        """
        text: str = self.options.filter
        chosen = {name: setting for name, setting in settings.items() if text in name}
        if not chosen:
            raise SystemExit(f"error: --filter: expected a part of one of: {'; '.join(settings)}; got {text!r}")
        if self.options.dry_run:
            print("\n".join(chosen))
            raise SystemExit(0)
        return list(chosen.values())

    def write_parts(self, parts: Iterable[Part]) -> None:
        """Write the chosen parts of pages, below the folder of ``--out``."""
        for part in self.choose({part.name: part for part in parts}):
            part.write(self.out)
            print(f"{part.name} written")

    def keep(self, rows: list[Row]) -> None:
        """Add rows to the file of this machine."""
        from studies.rows import append_rows

        print(f"\n{len(rows)} rows added to {append_rows(rows, self.out)}")


def time_operator(
    op: str,
    description: str | None,
    bytes_moved: Callable[[Sample], Mapping[str, int]],
    *,
    dtypes: Sequence[str] = ("float32", "bfloat16", "float16"),
    rounds: int = 15,
    peers: Callable[[], Mapping[str, Callable[..., Any]]] = dict,
) -> None:
    """The whole program that times one operator from its OpSpec.

    Args:
        op: the operator.
        description: the docstring of the program.
        bytes_moved: what a sample must at least read and write, by direction ("forward", "training").
        dtypes: names of the dtypes of the samples.
        rounds: timings of each variant.
        peers: imports what others have for the same purpose, and returns it by name.

    Raises:
        ValueError: a backend fails or disagrees with the reference. The others were timed.
    """
    program = Program(make_parser(description))
    device = program.device()

    from condinst.testing.specs import load_spec
    from studies.operators import measure_operator, operator_settings

    spec = load_spec(op)
    settings = program.choose(operator_settings(spec, bytes_moved, dtypes, device))
    measured = measure_operator(spec, settings, device, rounds=rounds, peers=peers())
    program.keep(measured.rows)
    measured.raise_refused()
