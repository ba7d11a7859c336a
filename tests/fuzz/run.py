"""Fuzzes for a while: ``make fuzz SECONDS=600`` or ``python tests/fuzz/run.py SECONDS [pytest's -k expression]``.

Every fuzz test gets an equal share of the time, in a process of its own, so that a crash costs that test alone. Prints
how many calls each made; a test that fails shows the smallest example, one that crashes the last one.
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
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        calls = re.search(r'name="calls" value="(\d+)"', report.read_text()) if report.exists() else None
        passed = done.returncode == 0
        print(f"{name}: {calls.group(1) if calls else '?'} calls, {'passed' if passed else 'FAILED'}", flush=True)
        if not passed:
            print(done.stdout[-6000:], done.stderr[-3000:], sep="\n")
            if done.returncode < 0 and last.exists():
                print(f"ended by signal {-done.returncode}; the last example: {last.read_text()[:3000]}", flush=True)
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
