"""`make gpu`: builds, tests, times and sanitizes on a machine with a GPU and without network, in under 9 minutes.

It is set by environment variables, and needs nothing but Python's standard library:

    PYTHON        the interpreter that has torch >= 2.11, the build tools and pytest; default the one that runs this
    STAGES        which stages, such as "test operators"; default all
    BENCHMARKS    which of benchmarks/bench_*.py the stage "operators" runs, such as "nms mask_head"; default all
    GPU_SECONDS   for everything; default 510
    OUT           the folder that gets everything of value, at most 6 files; default outputs/gpu
    WHEELS        a folder of wheels of what that Python lacks (pycocotools); default .whl, where there is one
    CONDINST_CUDA_ARCHITECTURES   what is compiled; default the architecture of the GPU alone, which is quicker

Nothing is installed: the build is in place, and wheels are unpacked into a temporary folder. A stage that fails does
not stop the later ones. A stage is NOT RUN where the machine or the repository lacks something that it needs. The exit
status is 0 if no stage failed and there is a GPU, otherwise 1, and 2 for a setting that makes no sense.

Each stage has seconds of its own. It may also take what earlier stages left over, but never what is kept for later
ones. The stages that tell most come first, so that little is lost with a machine that is taken away too early.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"
KERNELS = ROOT / "condinst/kernels"
LOG, SUMMARY, REPORT = "gpu.log", "summary.json", "tests.xml"
SECONDS = 510
GRACE_SECONDS = 5
"""Between the interruption of a command and its end."""

MODELS = ("condinst_r50_1x", "condinst_r50_1x_panoptic", "condinst_rt_dla34_shared")
NOT_OPERATORS = ("models", "training_step")
"""Of benchmarks/bench_*.py; they have stages of their own."""

PROBE = """
import importlib.util, json, sys, torch
gpu = torch.cuda.is_available()
print(json.dumps({
    "python": sys.version.split()[0],
    "torch": torch.__version__,
    "has_xdist": importlib.util.find_spec("xdist") is not None,
    "device": torch.cuda.get_device_name() if gpu else None,
    "capability": "%d%d" % torch.cuda.get_device_capability() if gpu else None,
}))
"""
BACKENDS = """
from condinst.backends import backend_table
for row in backend_table():
    print(row.op, row.backend, row.status, row.reason, sep="\\t")
"""


class UsageError(Exception):
    """A setting that makes no sense."""


@dataclass(frozen=True)
class Machine:
    """What PROBE prints; `device` and `capability` are None without a GPU."""

    python: str
    torch: str
    has_xdist: bool
    device: str | None
    capability: str | None


@dataclass(frozen=True)
class Command:
    """One process of a stage: its name in the summary, and what is executed."""

    name: str
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """Some commands, which run one after another; all of them, whether one fails or not.

    Attributes:
        name: as STAGES names it.
        seconds: kept for it.
        commands: in their order.
        missing: why it cannot run here, or None.
        seconds_each: at most for one command.
    """

    name: str
    seconds: float
    commands: tuple[Command, ...]
    missing: str | None = None
    seconds_each: float = math.inf


@dataclass(frozen=True)
class Result:
    """How a stage ended: "passed", "FAILED" or "NOT RUN", why, and seconds that it took and could have taken."""

    name: str
    status: str
    reason: str
    seconds: float
    limit: float

    def __str__(self) -> str:
        return f"{self.name:<12} {self.seconds:4.0f} of {self.limit:3.0f} s  {self.status:<8} {self.reason}".rstrip()


def make_stages(
    python: str, machine: Machine, out: Path, benchmarks: Sequence[str], environment: Mapping[str, str]
) -> list[Stage]:
    """All stages, in the order of what they tell; the seconds of all together are `SECONDS`.

    Args:
        python: the interpreter of all commands.
        machine: what there is.
        out: gets the report of the tests.
        benchmarks: of the operators, by name.
        environment: may say what to compile for.
    """
    no_device = None if machine.device else "no CUDA device"
    no_sanitizer = None if shutil.which("compute-sanitizer") else "compute-sanitizer is not in PATH"
    build = {"CONDINST_CUDA": "1"}
    if machine.capability and not environment.get("CONDINST_CUDA_ARCHITECTURES"):
        build["CONDINST_CUDA_ARCHITECTURES"] = f"{machine.capability}-real"
    workers = ("-n", str(max(2, min(8, (os.cpu_count() or 1) // 2)))) if machine.has_xdist else ()
    tests = ("tests/ops", "tests/models", "tests/benchmarking/test_measuring.py")
    pytest = ("-m", "pytest", "-q", "-m", "gpu", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={out / REPORT}")

    def run(name: str, *words: str, environment: Mapping[str, str] | None = None) -> Command:
        return Command(name, (python, *words), environment or {})

    def sanitize(tool: str) -> Stage:
        # Our kernels alone are instrumented. Each tensor has an allocation of its own, so that an access beyond it is
        # seen.
        words = ("compute-sanitizer", "--tool", tool, "--kernel-name", "kns=condinst", "--error-exitcode", "1")
        command = Command(tool, (*words, python, "tests/gpu/sanitize.py"), {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
        return Stage(tool, 40, (command,), no_device or no_sanitizer)

    return [
        Stage(
            "build",
            100,
            (
                run("setup.py", "setup.py", "--quiet", "build_ext", "--inplace", environment=build),
                run("backends", "-c", BACKENDS),
            ),
        ),
        Stage("test", 90, (run("pytest", *pytest, *workers, *tests),), no_device),
        Stage("inference", 40, (run("bench_models", "benchmarks/bench_models.py", *MODELS),), no_device),
        Stage("training", 40, (run("bench_training_step", "benchmarks/bench_training_step.py"),), no_device),
        Stage(
            "operators",
            100,
            tuple(run(f"bench_{name}", f"benchmarks/bench_{name}.py") for name in benchmarks),
            no_device,
            seconds_each=40,
        ),
        Stage(
            "tune", 60, (run("tune_gpu", "benchmarks/tune_gpu.py"),), no_device or _no_file("benchmarks/tune_gpu.py")
        ),
        sanitize("memcheck"),
        sanitize("racecheck"),
    ]


def _no_file(path: str) -> str | None:
    return None if (ROOT / path).exists() else f"there is no {path}"


def choose(what: str, names: str, known: Sequence[str]) -> list[str]:
    """The names of a setting in the order of the known ones; all where it is empty.

    Raises:
        UsageError: an unknown name.
    """
    chosen = names.split()
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise UsageError(f"{what}: expected some of {', '.join(known)}; got {', '.join(unknown)}")
    return [name for name in known if name in chosen or not chosen]


def run_stages(stages: Sequence[Stage], seconds: float, log: Log, environment: Mapping[str, str]) -> list[Result]:
    """Run stages one after another.

    Args:
        stages: in their order; where their seconds are more than `seconds` together, each gets its share.
        seconds: for all of them.
        log: gets what they print.
        environment: of their commands, beside their own.
    """
    deadline = time.monotonic() + seconds
    runnable = [stage for stage in stages if stage.missing is None]
    share = min(1.0, seconds / max(1.0, sum(stage.seconds for stage in runnable)))
    results = []
    for stage in stages:
        if stage.missing is not None:
            results.append(Result(stage.name, "NOT RUN", stage.missing, 0, 0))
            continue
        runnable.remove(stage)
        start = time.monotonic()
        limit = max(0.0, deadline - start - share * sum(later.seconds for later in runnable))
        failures = list(_run_stage(stage, start + limit, log, environment))
        status = "FAILED" if failures else "passed"
        results.append(Result(stage.name, status, "; ".join(failures), time.monotonic() - start, limit))
        log.write(f"\n{results[-1]}\n")
    return results


def _run_stage(stage: Stage, deadline: float, log: Log, environment: Mapping[str, str]) -> Iterator[str]:
    """Run the commands of a stage; what went wrong."""
    for command in stage.commands:
        limit = min(deadline - time.monotonic(), stage.seconds_each)
        log.write(f"\n{stage.name}: {command.name}\n")
        if limit <= 0:
            yield f"{command.name}: no time left"
            continue
        own = {"COMMAND_DEADLINE": str(time.time() + limit), **command.environment}
        failure = run_command(command.words, limit, log, {**environment, **own})
        if failure is not None:
            yield f"{command.name}: {failure}"


def run_command(words: Sequence[str], limit: float, log: Log, environment: Mapping[str, str]) -> str | None:
    """Run one command in a process group of its own, which ends with it; what went wrong, or None.

    At its limit it is interrupted, as from the keyboard, so that pytest still writes its report.
    """
    try:
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        return str(error)
    assert process.stdout is not None
    reader = threading.Thread(target=log.copy, args=(process.stdout,), daemon=True)
    reader.start()
    failure = None
    try:
        status = process.wait(limit)
        failure = f"exit status {status}" if status else None
    except subprocess.TimeoutExpired:
        failure = f"not done in {limit:.0f} s"
        _signal(process, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()
    reader.join(GRACE_SECONDS)
    return failure


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # the whole group may have ended
        os.killpg(process.pid, number)


class Log:
    """What is printed, in a file as well."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, text: str) -> None:
        self._write(text.encode())

    def copy(self, stream: IO[bytes]) -> None:
        """Write what a process prints, until it ends."""
        for line in stream:
            self._write(line)

    def _write(self, data: bytes) -> None:
        for file in (self._file, sys.stdout.buffer):
            file.write(data)
            file.flush()


def probe(python: str, environment: Mapping[str, str]) -> Machine:
    """What the interpreter has.

    Raises:
        UsageError: it has no torch, or does not start.
    """
    try:
        done = subprocess.run(
            [python, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"PYTHON: expected an interpreter that has torch, got {python}: {error}") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it prints nothing"])[-1]
        raise UsageError(f"PYTHON: expected an interpreter that has torch, got {python}: {reason}")
    return Machine(**json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def unpacked_wheels(python: str, folder: Path | None) -> Iterator[Path | None]:
    """A temporary folder with what the wheels of a folder hold; None without such a folder."""
    wheels = sorted(folder.glob("*.whl")) if folder is not None else []
    if not wheels:
        yield None
        return
    with tempfile.TemporaryDirectory() as site:
        words = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target", site)
        try:
            subprocess.run([python, *words, *map(str, wheels)], check=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"WHEELS: expected wheels that can be unpacked, got {folder}: {error}") from error
        yield Path(site)


@contextmanager
def kernels_in_place() -> Iterator[None]:
    """`condinst.kernels` is the folder kernels/ where condinst is installed; here a link stands in for that."""
    if KERNELS.exists():
        yield
        return
    KERNELS.symlink_to(ROOT / "kernels")
    try:
        yield
    finally:
        KERNELS.unlink()


@contextmanager
def new_results_copied(out: Path) -> Iterator[None]:
    """Copy the files of benchmarks/results that are new or changed by the end."""
    before = _versions()
    try:
        yield
    finally:
        for path, version in _versions().items():
            if before.get(path) != version:
                shutil.copy(path, out)


def _versions() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in RESULTS.iterdir() if path.suffix in (".csv", ".json")}


def main(environment: Mapping[str, str]) -> int:
    """Run the stages that the environment asks for; the exit status."""
    start = time.monotonic()
    python = environment.get("PYTHON") or sys.executable
    out = (ROOT / (environment.get("OUT") or "outputs/gpu")).resolve()
    wheels = _wheel_folder(environment)
    seconds = _seconds(environment)
    known = [path.stem.removeprefix("bench_") for path in sorted((ROOT / "benchmarks").glob("bench_*.py"))]
    known = [name for name in known if name not in NOT_OPERATORS]
    benchmarks = choose("BENCHMARKS", environment.get("BENCHMARKS", ""), known)
    with unpacked_wheels(python, wheels) as site:
        paths = [str(ROOT), *([str(site)] if site else []), *filter(None, [environment.get("PYTHONPATH")])]
        for_all = {
            **environment,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "KINETO_LOG_LEVEL": "6",
        }
        machine = probe(python, for_all)
        stages = make_stages(python, machine, out, benchmarks, environment)
        names = choose("STAGES", environment.get("STAGES", ""), [stage.name for stage in stages])
        out.mkdir(parents=True, exist_ok=True)
        for name in (LOG, SUMMARY, REPORT):
            (out / name).unlink(missing_ok=True)
        log = Log(out / LOG)
        log.write(f"{machine.device or 'no CUDA device'}, torch {machine.torch}, Python {machine.python}\n")
        with kernels_in_place(), new_results_copied(out):
            chosen = [stage for stage in stages if stage.name in names]
            results = run_stages(chosen, seconds - (time.monotonic() - start), log, for_all)
    log.write("\n" + "".join(f"{result}\n" for result in results))
    summary = {
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": asdict(machine),
        "stages": [asdict(result) for result in results],
    }
    (out / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
    return int(machine.device is None or any(result.status == "FAILED" for result in results))


def _wheel_folder(environment: Mapping[str, str]) -> Path | None:
    if not environment.get("WHEELS"):
        return ROOT / ".whl"
    folder = ROOT / environment["WHEELS"]
    if not any(folder.glob("*.whl")):
        raise UsageError(f"WHEELS: expected a folder of wheels, got {folder}")
    return folder


def _seconds(environment: Mapping[str, str]) -> float:
    text = environment.get("GPU_SECONDS") or str(SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise UsageError(f"GPU_SECONDS: expected a number of seconds, got {text!r}")
    return seconds


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


if __name__ == "__main__":
    try:
        sys.exit(main(os.environ))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
