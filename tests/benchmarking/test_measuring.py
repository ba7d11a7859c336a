"""The tools of the benchmarks: turns, memory, files, tables, and what a study refuses or leaves out."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from condinst.benchmarking import mask_head, plot
from condinst.benchmarking.mask_head import (
    COMPILED_CHUNKED,
    COMPILED_GROUPED,
    GROUPED,
    HeadCase,
    check_masks,
    head_call,
)
from condinst.benchmarking.mask_loss import measure_mask_loss
from condinst.benchmarking.memory import allocator_peak_mib, resident_peak_mib
from condinst.benchmarking.results import Row, append_rows, latest, make_rows, read_rows
from condinst.benchmarking.study import Limits, Setting, Study
from condinst.benchmarking.tables import MISSING, instances_tables, operator_table, replace_block
from condinst.benchmarking.timing import take_turns

CPU = torch.device("cpu")
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


def _rows(num_instances: int, date: str = "2026-01-01T00:00:00") -> list[Row]:
    return make_rows(
        {**ABOUT, "date": date, "sample": f"{num_instances} x 4x6"},
        {"grouped convolution": [0.004, 0.002, 0.003], "cpp": [0.001, 0.001, 0.001]},
        baseline="grouped convolution",
        floor_seconds=0.0005,
        peaks_mib={"grouped convolution": 8.0, "cpp": 2.0},
        resident_mib={"cpp": 2.5},
        num_instances=num_instances,
    )


def test_variants_take_turns() -> None:
    order: list[str] = []
    calls = {name: partial(order.append, name) for name in "ab"}
    times = take_turns(calls, CPU, rounds=4)
    assert order == list("abababab") and [len(times[name]) for name in "ab"] == [4, 4]
    assert len(take_turns(calls, CPU, rounds=9, seconds_at_most=0)["a"]) == 3


def _allocate(mib: int) -> Callable[[], object]:
    return lambda: torch.ones(mib * 2**18).sum()


def test_memory_from_inside_and_outside() -> None:
    assert allocator_peak_mib(_allocate(48), CPU) == pytest.approx(48, abs=0.1)
    resident = resident_peak_mib(_allocate, 48)
    if sys.platform.startswith("linux"):
        assert resident == pytest.approx(48, abs=2)


def _break_down(message: str) -> Callable[[], object]:
    raise RuntimeError(message)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory on Linux only")
def test_a_broken_measurement_is_no_hang() -> None:
    with pytest.raises(RuntimeError, match="ended with status 1"):
        resident_peak_mib(_break_down, "this traceback is expected")


def test_rows_come_back_from_the_file(tmp_path: Path) -> None:
    first, second = _rows(1), _rows(10, date="2026-01-02T00:00:00")
    path = append_rows(first, tmp_path / "new")
    assert path.name == "a-cpu-2-threads.csv" and append_rows(second, tmp_path / "new") == path
    rows = read_rows(path)
    assert rows == first + second
    assert latest(rows, "dynamic_mask_head", "instances") == second and not latest(rows, "dice_loss", "operator")
    assert (rows[1].p50_ms, rows[1].ratio, rows[3].ms_per_instance) == (1.0, 3.0, 0.1)
    assert (rows[0].resident_mib, rows[1].resident_mib) == (None, 2.5)


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = append_rows(_rows(1), tmp_path)
    path.write_text("date,commit\n")
    with pytest.raises(ValueError, match="expected the columns date, commit, torch"):
        append_rows(_rows(1), tmp_path)
    assert next(csv.reader(path.open())) == ["date", "commit"]


def test_tables() -> None:
    rows = [*_rows(1), _rows(10)[1]]
    times, ratios, memory = instances_tables(rows)
    assert times.columns == ["instances", "1", "10"]
    assert times.cells == [
        ["grouped convolution", "3 (3000)", MISSING],
        ["cpp", "1 (1000)", "1 (100)"],
        ["floor", "0.5 (500)", "0.5 (50)"],
    ]
    assert ratios.cells[1] == ["cpp", "3.0", "3.0"]
    assert memory.cells == [["grouped convolution", "8 / -", MISSING], ["cpp", "2 / 2.5", "2 / 2.5"]]
    assert "| cpp | 3.0 | 3.0 |" in ratios.markdown()


def test_operator_table() -> None:
    first, second = _rows(3), _rows(5)[:1]
    table = operator_table([*first, *second]).markdown().splitlines()
    assert table[2] == "| dynamic_mask_head | 3 x 4x6, float32, forward | 5 x 4x6, float32, forward |"
    assert table[4] == "| grouped convolution | 3 (1.0x) | 3 (1.0x) |"
    assert table[5] == f"| cpp | 1 (3.0x) | {MISSING} |"
    assert table[6] == "| floor | 0.5 | 0.5 |"


def test_a_block_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated: one -->\nold\n<!-- end of one -->\nafter\n")
    for _ in range(2):
        replace_block(page, "one", ["a \\1", "b"])
    text = "before\n<!-- generated: one -->\n\na \\1\n\nb\n\n<!-- end of one -->\nafter\n"
    assert page.read_text() == text
    with pytest.raises(ValueError, match=r"page\.md: expected the comments <!-- generated: two -->"):
        replace_block(page, "two", [])


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "new" / "times.png"
    plot.save_plot([*_rows(1), *_rows(10)], path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_plot_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="plot: expected a name ending in .png, .svg, .pdf, got times.doc"):
        plot.check_can_plot(Path("times.doc"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"plot: expected matplotlib.*pip install 'condinst\[plot\]'"):
        plot.check_can_plot(Path("times.png"))


def test_floor_counts() -> None:
    case = HeadCase(3, (4, 5), num_layers=3, channels=8, upsample_factor=4)
    assert case.multiply_adds == 3 * 20 * (8 * 8 + 8 * 8 + 8)
    assert HeadCase(3, (4, 5), num_layers=1).multiply_adds == 3 * 20 * 8
    assert case.output_shape == (3, 16, 20)


@pytest.mark.parametrize("variant", [COMPILED_GROUPED, COMPILED_CHUNKED])
def test_compiled_variants(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # as it is traced, but quick
    torch._dynamo.reset()
    case = HeadCase(7, (4, 5))
    check_masks(case, CPU, variant, head_call(case, CPU, 4, variant)())


def test_wrong_masks_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = HeadCase(20, (4, 5))
    masks = head_call(case, CPU, 4, GROUPED)()
    assert isinstance(masks, torch.Tensor)
    check_masks(case, CPU, GROUPED, masks)
    masks[-1, -1, -1] += 1e-3
    with pytest.raises(AssertionError, match="error 0.001"):
        check_masks(case, CPU, GROUPED, masks)

    def wrong(*args: torch.Tensor, **options: int) -> torch.Tensor:
        return torch.zeros(args[1].shape[0], 8, 10)

    monkeypatch.setattr(mask_head, "grouped_convolution", wrong)
    with pytest.raises(ValueError, match="not timed: grouped convolution at instances: 2 x 4x5 disagrees"):
        mask_head.measure_mask_head(CPU, instances=(2,), size=(4, 5), rounds=2, compiled="none")


def test_what_would_take_too_long_is_left_out() -> None:
    study = Study(
        "dynamic_mask_head", "forward", GROUPED, CPU, rounds=2,
        limits=Limits(seconds_per_call=1e-9), progress=lambda _: None,
    )  # fmt: skip
    for count in (1, 2, 4):
        case = HeadCase(count, (4, 5))
        setting = Setting("instances", str(count), count, case.multiply_adds, case.output_shape, measure_resident=False)
        study.measure(setting, [GROUPED], partial(head_call, case, CPU, 4), partial(check_masks, case, CPU))
    assert [row.num_instances for row in study.rows] == [1]
    assert [left_out.num_instances for left_out in study.not_measured] == [2, 4]
    assert "grouped convolution with 4 instances: not measured, about 0 s" in str(study.not_measured[1])


def test_training_study() -> None:
    study = measure_mask_loss(CPU, instances=(3, 5), size=(4, 6), rounds=2, compiled=False)
    variants = {row.variant for row in study.rows}
    assert {"reference", "grouped convolution", "chunked matmul"} <= variants
    assert len(study.rows) == 2 * len(variants) and all(row.direction == "training" for row in study.rows)
    assert all(row.p50_ms > 0 and row.peak_mib >= 0 and row.floor_ms > 0 for row in study.rows)
