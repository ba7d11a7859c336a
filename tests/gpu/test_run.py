"""`make gpu` without a GPU: its stages, their limits, what it leaves. A stand-in takes the place of the interpreter."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import zipfile
from dataclasses import asdict
from itertools import count
from pathlib import Path

import pytest
import torch

from condinst.ops import OPERATORS
from condinst.testing import OpSpec, Sample
from condinst.testing.specs import ALL_SPECS, SPECS
from tests.gpu import run, sanitize
from tests.gpu.run import Command, Log, Machine, Result, Stage, UsageError, choose, make_stages, run_stages

GPU = Machine(python="3.12", torch="2.11", has_xdist=True, device="A GPU", capability="90")
NO_GPU = Machine(python="3.12", torch="2.11", has_xdist=False, device=None, capability=None)

STAND_IN = """#!{python}
import json, os, signal, sys, time
from pathlib import Path

words = sys.argv[1:]
if "get_device_capability" in " ".join(words):
    print(json.dumps({machine}))
    sys.exit()
print("called with", *words)
for word in words:
    if word.startswith("--junitxml="):
        Path(word.removeprefix("--junitxml=")).write_text("<testsuites/>")
if words[0] == "benchmarks/bench_nms.py":
    Path(os.environ["TEST_RESULT"]).write_text("rows")
    print("a link to", os.readlink(os.environ["TEST_LINK"]))
if words[0] == "setup.py":
    print("architectures", os.environ.get("CONDINST_CUDA_ARCHITECTURES"))
if words[0] == os.environ.get("TEST_HANGS"):
    time.sleep(60)
sys.exit(words[0] == os.environ.get("TEST_FAILS"))
"""


def _python(seconds: float, status: int = 0, code: str = "pass") -> Command:
    words = (
        sys.executable,
        "-c",
        f"import sys, time; {code}; time.sleep({seconds}); print('finished'); sys.exit({status})",
    )
    return Command(f"sleep {seconds}", words)


def _run(tmp_path: Path, stages: list[Stage], seconds: float) -> tuple[list[Result], str]:
    results = run_stages(stages, seconds, Log(tmp_path / "log"), os.environ)
    return results, (tmp_path / "log").read_text()


def test_stages_in_the_order_of_what_they_tell() -> None:
    stages = make_stages("python", GPU, Path("out"), ["nms"], {})
    names = ["build", "test", "inference", "training", "operators", "tune", "memcheck", "racecheck"]
    assert [stage.name for stage in stages] == names
    assert sum(stage.seconds for stage in stages) <= run.SECONDS < 9 * 60
    files = [word for stage in stages for command in stage.commands for word in command.words if word.endswith(".py")]
    assert [name for name in files if not (run.ROOT / name).exists()] == (
        [] if (run.ROOT / "benchmarks/tune_gpu.py").exists() else ["benchmarks/tune_gpu.py"]
    )
    assert [stage.missing for stage in stages[:4]] == [None] * 4
    assert {stage.missing for stage in make_stages("python", NO_GPU, Path("out"), ["nms"], {})[1:]} == {
        "no CUDA device"
    }


def test_what_the_stages_take_from_the_machine() -> None:
    build, test = make_stages("python", GPU, Path("out"), [], {})[:2]
    assert build.commands[0].environment["CONDINST_CUDA_ARCHITECTURES"] == "90-real" and "-n" in test.commands[0].words
    chosen = {"CONDINST_CUDA_ARCHITECTURES": "80-real"}
    assert (
        "CONDINST_CUDA_ARCHITECTURES"
        not in make_stages("python", GPU, Path("out"), [], chosen)[0].commands[0].environment
    )
    assert "-n" not in make_stages("python", NO_GPU, Path("out"), [], {})[1].commands[0].words


def test_stages_are_chosen() -> None:
    known = ["build", "test", "operators"]
    assert choose("STAGES", "", known) == known
    assert choose("STAGES", "operators  test", known) == ["test", "operators"]
    with pytest.raises(UsageError, match="STAGES: expected some of build, test, operators; got tests, all"):
        choose("STAGES", "tests build all", known)


def test_a_stage_that_hangs_is_cut_and_the_next_one_runs(tmp_path: Path) -> None:
    start = time.monotonic()
    # a process in the background of a shell ignores SIGINT, and so do its children
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); print('hangs', flush=True)"
    hangs = _python(60, code=code)
    results, text = _run(tmp_path, [Stage("a", 8, (hangs,)), Stage("b", 20, (_python(0),))], 28)
    assert [(result.name, result.status, result.reason) for result in results] == [
        ("a", "FAILED", "sleep 60: not done in 8 s"),
        ("b", "passed", ""),
    ]
    assert time.monotonic() - start < 50 and "hangs" in text and "KeyboardInterrupt" in text and "finished" in text


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks processes up in /proc")
def test_children_end_with_their_stage(tmp_path: Path) -> None:
    """Also those that ignore the interruption, of a command that does so, too."""
    code = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('child', os.fork(), flush=True)"
    for limit in (2, 8, 30):  # Python starts in less than a second, unless the machine is busy
        results, text = _run(tmp_path, [Stage("a", limit, (_python(60, code=code),))], limit)
        assert results[0].status == "FAILED" and results[0].seconds < limit + 2 * run.GRACE_SECONDS
        children = [int(number) for number in re.findall(r"^child (\d+)$", text, re.MULTILINE)]
        if len(children) == 2:
            break
    child = max(children)  # itself, it prints 0
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"  # ended, and not yet collected


def test_a_stage_takes_what_is_left_over_and_not_what_is_kept(tmp_path: Path) -> None:
    quick = (_python(0),)
    stages = [Stage("a", 100, quick), Stage("b", 50, (), missing="no b"), Stage("c", 30, quick), Stage("d", 20, quick)]
    a, b, c, d = _run(tmp_path, stages, 200)[0]
    assert (b.status, b.reason, b.limit) == ("NOT RUN", "no b", 0)
    assert [a.limit, c.limit, d.limit] == pytest.approx([150, 180, 200], abs=10)  # 200 but what is kept for c and d
    assert a.limit <= 150 and a.limit + 30 - a.seconds == pytest.approx(c.limit, abs=0.5)
    a, c, d = _run(tmp_path, [stages[0], *stages[2:]], 15)[0]  # a tenth of what they want
    assert [a.limit, c.limit + a.seconds] == pytest.approx([10, 13], abs=0.5)


def test_all_commands_of_a_stage_run(tmp_path: Path) -> None:
    commands = (_python(0, status=3), Command("nothing", ("/no/such/program",)), _python(60), _python(0))
    (result,), text = _run(tmp_path, [Stage("a", 100, commands, seconds_each=2)], 100)
    assert result.status == "FAILED" and text.count("finished") == 2
    failures = result.reason.split("; ")
    assert failures[0] == "sleep 0: exit status 3" and failures[1].startswith("nothing: ")
    assert failures[2:] == ["sleep 60: not done in 2 s"]
    (result,), _ = _run(tmp_path, [Stage("a", 100, (_python(60), _python(0)))], 0.5)
    assert result.reason.endswith("; sleep 0: no time left")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of a run with a stand-in for the interpreter, which leaves the results of a benchmark."""
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN.replace("{python}", sys.executable).replace("{machine}", repr(asdict(GPU))))
    stand_in.chmod(0o755)
    results, link = tmp_path / "results", tmp_path / "kernels"
    results.mkdir()
    (results / "a-cpu.csv").write_text("rows of another machine")
    monkeypatch.setattr(run, "RESULTS", results)
    monkeypatch.setattr(run, "KERNELS", link)
    return {
        "PATH": os.environ["PATH"],
        "PYTHON": str(stand_in),
        "OUT": str(tmp_path / "out"),
        "TEST_RESULT": str(results / "a-gpu.csv"),
        "TEST_LINK": str(link),
    }


def test_a_run_leaves_one_folder(environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text("of the run before")
    assert run.main({**environment, "STAGES": "operators test build"}) == 0
    assert {path.name for path in out.iterdir()} == {"gpu.log", "summary.json", "tests.xml", "a-gpu.csv"}
    assert (out / "a-gpu.csv").read_text() == "rows"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["machine"]["device"] == "A GPU" and summary["date"]
    assert [(stage["name"], stage["status"]) for stage in summary["stages"]] == [
        ("build", "passed"), ("test", "passed"), ("operators", "passed"),
    ]  # fmt: skip
    text = (out / "gpu.log").read_text()
    assert "architectures 90-real" in text and "called with -m pytest -q -m gpu" in text
    benchmarks = {path.name for path in (run.ROOT / "benchmarks").glob("bench_*.py")}
    assert {name for name in benchmarks if f"called with benchmarks/{name}" in text} == benchmarks - {
        "bench_models.py", "bench_training_step.py",
    }  # fmt: skip
    assert f"a link to {run.ROOT / 'kernels'}" in text and not run.KERNELS.is_symlink()


def test_a_run_that_fails_says_what(environment: dict[str, str], tmp_path: Path) -> None:
    script = "benchmarks/bench_nms.py"
    chosen = {**environment, "STAGES": "operators", "BENCHMARKS": "nms dice_loss"}

    def only_stage() -> dict[str, str]:
        (stage,) = json.loads((tmp_path / "out/summary.json").read_text())["stages"]
        return stage

    assert run.main({**chosen, "TEST_FAILS": script}) == 1
    assert (only_stage()["status"], only_stage()["reason"]) == ("FAILED", "bench_nms: exit status 1")
    assert "called with benchmarks/bench_dice_loss.py" in (tmp_path / "out/gpu.log").read_text()
    assert run.main({**chosen, "BENCHMARKS": "nms", "TEST_HANGS": script, "GPU_SECONDS": "8"}) == 1
    assert only_stage()["status"] == "FAILED" and "bench_nms: not done in " in only_stage()["reason"]


def test_without_a_gpu_the_run_is_not_green(environment: dict[str, str], tmp_path: Path) -> None:
    stand_in = Path(environment["PYTHON"])
    stand_in.write_text(stand_in.read_text().replace(repr(asdict(GPU)), repr(asdict(NO_GPU))))
    assert run.main({**environment, "STAGES": "build test"}) == 1
    stages = json.loads((tmp_path / "out/summary.json").read_text())["stages"]
    assert [(stage["status"], stage["reason"]) for stage in stages] == [("passed", ""), ("NOT RUN", "no CUDA device")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"STAGES": "bench"}, "STAGES: expected some of build, test, .*; got bench"),
        ({"BENCHMARKS": "models"}, "BENCHMARKS: expected some of .*nms.*; got models"),
        ({"GPU_SECONDS": "soon"}, "GPU_SECONDS: expected a number of seconds, got 'soon'"),
        ({"GPU_SECONDS": "-5"}, "GPU_SECONDS: expected a number of seconds, got '-5'"),
        ({"WHEELS": "tests/gpu"}, "WHEELS: expected a folder of wheels, got .*tests/gpu"),
        ({"PYTHON": "/no/such/python"}, "PYTHON: expected an interpreter that has torch, got /no/such/python"),
        ({"PYTHON": "/bin/false"}, "PYTHON: expected an interpreter that has torch, got /bin/false"),
    ],
)
def test_settings_that_make_no_sense(environment: dict[str, str], settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run.main({**environment, **settings})


def test_wheels_are_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tiny_thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_thing.py", "ANSWER = 42\n")
        info = "tiny_thing-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"tiny_thing.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    with run.unpacked_wheels(sys.executable, tmp_path) as site:
        assert site is not None and (site / "tiny_thing.py").read_text() == "ANSWER = 42\n"
    assert not site.exists()
    (tmp_path / "broken-1.0-py3-none-any.whl").write_text("")
    with pytest.raises(UsageError, match="WHEELS: expected wheels that can be unpacked"):
        run.unpacked_wheels(sys.executable, tmp_path).__enter__()


def test_the_sanitizer_sees_every_operator() -> None:
    calls = sanitize.calls_in_turns(ALL_SPECS, torch.device("cpu"))
    assert {spec.name for spec, _ in calls[: len(ALL_SPECS)]} == set(OPERATORS) - {"aligned_bilinear"}


def test_the_sanitizer_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def check(spec: OpSpec, sample: Sample) -> None:
        made.append(spec.name)

    calls = sanitize.calls_in_turns(SPECS[:2], torch.device("cpu"))
    assert sanitize.check_until(float("inf"), calls, check) == len(calls) == len(made)
    made.clear()
    clock = count()
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert sanitize.check_until(2.5, calls, check) == 3
    assert made == [SPECS[0].name, SPECS[1].name, SPECS[0].name]
