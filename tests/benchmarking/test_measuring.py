"""The tools of the benchmarks: turns, memory, files, tables, and what a study refuses or leaves out."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from condinst.benchmarking import mask_head, plot
from condinst.benchmarking.machine import device_name
from condinst.benchmarking.mask_head import (
    COMPILED_CHUNKED,
    COMPILED_GROUPED,
    GROUPED,
    HeadCase,
    check_masks,
    head_call,
)
from condinst.benchmarking.memory import allocator_peak_mib, resident_peak_mib
from condinst.benchmarking.results import times_text
from condinst.benchmarking.study import Limits, Setting, Study
from condinst.benchmarking.tables import GPU_STATISTIC, MISSING, ablation_table, instances_tables, mask_head_tables
from condinst.benchmarking.timing import Call, Clock, CudaClock, Times, take_turns
from condinst.testing.specs import load_spec
from studies import operators
from studies.mask_loss import measure_mask_loss
from studies.pages import replace_block
from studies.rows import append_rows, latest, read_rows
from studies.tables import operator_table
from tests.benchmarking.made_rows import make_gpu_rows, make_rows_of_two

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


class StandInClock(Clock):
    """Times calls as on a GPU: 3 s of wall time, 2 s between events; a replay takes 1 s, and some cannot be recorded.

    Args:
        cannot_record: these calls.
    """

    def __init__(self, *cannot_record: Call) -> None:
        self._cannot_record = cannot_record
        self._replays: list[Call] = []

    def wall_seconds(self, call: Call) -> float:
        call()
        return 3.0

    def device_seconds(self, call: Call) -> float:
        call()
        return 1.0 if call in self._replays else 2.0

    def record(self, call: Call) -> Call:
        if call in self._cannot_record:
            raise RuntimeError("called a synchronizing CUDA operation\nand a long trace")
        self._replays.append(partial(call))
        return self._replays[-1]


def test_variants_take_turns() -> None:
    order: list[str] = []
    calls = {name: partial(order.append, name) for name in "ab"}
    times = take_turns(calls, Clock(), rounds=4)
    assert order == list("abababab") and [len(times[name].wall) for name in "ab"] == [4, 4]
    assert not times["a"].device and not times["a"].graph and times["a"].computing == times["a"].wall
    assert len(take_turns(calls, Clock(), rounds=9, seconds_at_most=0)["a"].wall) == 3


def test_a_gpu_has_three_times(caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []
    calls: dict[str, Call] = {name: partial(order.append, name) for name in "ab"}
    times = take_turns(calls, StandInClock(calls["b"]), rounds=2)
    assert times == {"a": Times([3.0] * 2, [2.0] * 2, [1.0] * 2), "b": Times([3.0] * 2, [2.0] * 2, [])}
    assert order == list("aaabb" * 2)
    assert (times["a"].computing, times["b"].computing) == ([1.0] * 2, [2.0] * 2)
    assert caplog.messages == ["b: no time in a CUDA graph: called a synchronizing CUDA operation"]


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
    first, second = make_rows_of_two(1), make_rows_of_two(10, date="2026-01-02T00:00:00")
    path = append_rows(first, tmp_path / "new")
    assert path.name == "a-cpu-2-threads.csv" and append_rows(second, tmp_path / "new") == path
    rows = read_rows(path)
    assert rows == first + second
    assert latest(rows, "dynamic_mask_head", "instances") == second and not latest(rows, "dice_loss", "operator")
    assert (rows[1].p50_ms, rows[1].ratio, rows[3].ms_per_instance) == (1.0, 3.0, 0.1)
    assert (rows[0].resident_mib, rows[1].resident_mib) == (None, 2.5)


def test_rows_of_a_gpu() -> None:
    recorded, waits = make_gpu_rows()
    assert (recorded.p50_ms, recorded.device_ms, recorded.graph_ms, recorded.computing_ms) == (65.0, 38.0, 32.2, 32.2)
    assert (waits.device_ms, waits.graph_ms, waits.computing_ms) == (38.0, None, 38.0)
    assert recorded.floor_ms == 2.3e-5  # a few boxes take a GPU less than a ten-thousandth of a millisecond
    assert (times_text(recorded), times_text(waits)) == ("65 / 38 / 32.2", "65 / 38 / -")
    assert operator_table([recorded]).title.startswith(f"`dynamic_mask_head`: milliseconds a call, {GPU_STATISTIC} (")
    assert instances_tables([recorded])[0].cells == [
        ["cpp", "65 / 38 / 32.2 (6500)"],
        ["floor", "2.3e-05 (0.0023)"],
    ]
    table = ablation_table([recorded], "factor", "Table 5")
    assert table.title == f"Table 5, {GPU_STATISTIC}" and table.cells[0][1:] == ["650 / 380 / 322", "0.00023"]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks/results").glob("*.csv")), ids=lambda path: path.stem)
def test_kept_rows_are_read_and_stay(path: Path, tmp_path: Path) -> None:
    """Also those that were written before the columns of a GPU came."""
    kept = read_rows(path)
    assert kept and all(row.floor_ms >= 0 for row in kept)
    copy = tmp_path / re.sub(r"[^a-z0-9]+", "-", kept[0].device.lower()).strip("-")
    copy = copy.with_suffix(".csv")
    copy.write_bytes(path.read_bytes())
    new = dataclasses.replace(make_rows_of_two(1)[1], device=kept[0].device)
    assert append_rows([new], tmp_path) == copy and read_rows(copy) == [*kept, new]
    for before, after in zip(path.read_text().splitlines(), copy.read_text().splitlines(), strict=False):
        assert after.startswith(before)


def test_machines_do_not_share_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPUs of one name with other instructions or numbers of threads have files of their own."""
    paths = []
    for instructions in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda name=instructions: name)
        device = device_name(CPU)
        assert instructions in device
        paths.append(append_rows([dataclasses.replace(make_rows_of_two(1)[0], device=device)], tmp_path))
        assert instructions.lower() in paths[-1].name
    assert len({*paths}) == 2 and all(len(read_rows(path)) == 1 for path in paths)


def test_rows_of_another_device_are_refused(tmp_path: Path) -> None:
    first, second = make_rows_of_two(1)
    with pytest.raises(ValueError, match="expected rows of one device, got those of A CPU, 2 threads; a CPU: 2 thr"):
        append_rows([first, dataclasses.replace(second, device="a CPU: 2 threads")], tmp_path)
    assert not list(tmp_path.iterdir())
    path = append_rows([first], tmp_path)
    with pytest.raises(ValueError, match="expected rows of one device"):  # whose file would have the same name
        append_rows([dataclasses.replace(second, device="a CPU: 2 threads")], tmp_path)
    assert read_rows(path) == [first] and [*tmp_path.iterdir()] == [path]


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = append_rows(make_rows_of_two(1), tmp_path)
    path.write_text("date,commit\n")
    with pytest.raises(ValueError, match="expected the columns date, commit, torch"):
        append_rows(make_rows_of_two(1), tmp_path)
    assert next(csv.reader(path.open())) == ["date", "commit"]


def test_tables() -> None:
    rows = [*make_rows_of_two(1), make_rows_of_two(10)[1]]
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


def test_tables_of_a_part_of_the_study() -> None:
    rows = [dataclasses.replace(row, study="depth", sample="2") for row in make_rows_of_two(100)]
    (table,) = mask_head_tables(rows)
    assert table.title.startswith("Table 1a") and table.columns[0] == "depth" and not mask_head_tables([])


def test_operator_table() -> None:
    first, second = make_rows_of_two(3), make_rows_of_two(5)[:1]
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
    plot.save_plot([*make_rows_of_two(1), *make_rows_of_two(10)], path)
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
        mask_head.measure_mask_head(CPU, mask_head.mask_head_points((2,), (4, 5), "none"), rounds=2)


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


def _measure_centerness(monkeypatch: pytest.MonkeyPatch) -> operators.Measured:
    """On a GPU that reads 16 KB in 4 ns."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(operators, "clock_for", lambda _: StandInClock())
    monkeypatch.setattr(operators, "read_bytes_per_second", lambda _: 4e12)
    moved = {"forward": 16_000, "training": 24_000}
    spec = load_spec("centerness_loss")
    settings = operators.operator_settings(spec, lambda _: moved, ["float32"], CPU)
    assert list(settings) == [f"centerness_loss: 2000, float32, {direction}" for direction in moved]
    return operators.measure_operator(spec, list(settings.values()), CPU, rounds=2)


def test_an_operator_on_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _measure_centerness(monkeypatch).rows
    assert {row.direction for row in rows} == {"forward", "training"}
    assert {(row.p50_ms, row.device_ms, row.graph_ms) for row in rows} == {(3000.0, 2000.0, 1000.0)}
    lines = capsys.readouterr().out.splitlines()
    assert "3000 / 2000 / 1000 ms" in lines[0] and "250000000.00 x floor" in lines[0]


def test_a_backend_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(spec: object, backend: str, device: torch.device) -> None:
        if backend == "cpp":
            raise TypeError("failed to specialize argument of type: dict")

    monkeypatch.setattr(operators, "check", check)
    monkeypatch.setattr(operators, "available_backends", lambda *_: ["reference", "cpp"])
    measured = _measure_centerness(monkeypatch)
    assert {row.variant for row in measured.rows} == {"reference", "torch.compile(reference)"}
    with pytest.raises(ValueError, match="not timed: centerness_loss on cpp fails: TypeError: failed to specialize"):
        measured.raise_refused()


def test_a_recording_restores_the_debug_mode_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the call fails; the mode is the user's."""
    modes: list[object] = []
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda one: contextlib.nullcontext(),
        "get_sync_debug_mode": lambda: 1,
        "set_sync_debug_mode": modes.append,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    with pytest.raises(ZeroDivisionError):
        CudaClock.__new__(CudaClock)._refuse_to_wait(lambda: 1 / 0)
    assert modes == ["error", 1]


@pytest.mark.gpu
def test_the_clock_of_a_gpu() -> None:
    device = torch.device("cuda")
    data = torch.rand(2**26, device=device)

    def fail_while_recorded() -> torch.Tensor:
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError("not here")
        return data.sum()

    calls: dict[str, Call] = {"sum": data.sum, "wait": lambda: data.sum().item(), "fail": fail_while_recorded}
    stream = torch.cuda.current_stream()
    times = take_turns(calls, CudaClock(device), rounds=3)
    assert {name: (len(found.wall), len(found.device), len(found.graph)) for name, found in times.items()} == {
        "sum": (3, 3, 3), "wait": (3, 3, 0), "fail": (3, 3, 0),
    }  # fmt: skip
    assert torch.cuda.current_stream() == stream and torch.rand(3, device=device).isfinite().all()
    # 268 MB from memory, not from the cache: no GPU reads 20 TB/s
    assert 13e-6 < min(times["sum"].graph) < min(times["sum"].wall)
