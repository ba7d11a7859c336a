"""Fuzzes for a while: ``make fuzz SECONDS=600`` or ``python tests/fuzz/run.py SECONDS [pytest's -k expression]``.

Every fuzz test gets an equal share of the time, in a process of its own, so that a crash costs that test alone. Prints
how many calls each made; a test that fails shows the smallest example, one that crashes or hangs the last one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider")


def collect(selection: str) -> list[str]:
    """Names of the tests that use the fixture `fuzz`."""
    words = [*PYTEST, "--collect-only", "tests/fuzz", "-m", "fuzz", "-k", selection]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    names = [line for line in done.stdout.splitlines() if "::" in line]
    if not names:
        raise SystemExit(f"no test is selected by {selection!r}\n{done.stdout}{done.stderr}")
    return names


def run(name: str, seconds: float) -> bool:
    """Runs one test for a while. Returns whether it passed."""
    with tempfile.TemporaryDirectory() as folder:
        last, report = Path(folder) / "last.txt", Path(folder) / "report.xml"
        environment = {**os.environ, "FUZZ_SECONDS": str(seconds), "FUZZ_LAST": str(last)}
        words = [*PYTEST, "--tb=short", "-o", "junit_family=xunit1", "--junit-xml", str(report), name]
        with subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                output, errors = process.communicate(timeout=3 * seconds + 120)
                ended = f"signal {-process.returncode}" if process.returncode < 0 else None
            except subprocess.TimeoutExpired:
                process.kill()
                output, errors = process.communicate()
                ended = "its time limit, which an example exceeds"
        calls = re.search(r'name="calls" value="(\d+)"', report.read_text()) if report.exists() else None
        passed = process.returncode == 0
        print(f"{name}: {calls.group(1) if calls else '?'} calls, {'passed' if passed else 'FAILED'}", flush=True)
        if not passed:
            print(output[-6000:], errors[-3000:], sep="\n")
            if ended is not None and last.exists():
                print(f"ended by {ended}; the last example: {last.read_text()[:3000]}", flush=True)
        return passed


def main(arguments: list[str]) -> int:
    """Returns 1 when a test failed."""
    seconds = float(arguments[0]) if arguments else 600.0
    names = collect(arguments[1] if len(arguments) > 1 else "")
    failed = [name for name in names if not run(name, seconds / len(names))]
    print(f"{len(names) - len(failed)} passed, {len(failed)} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
