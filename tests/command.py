"""The command `condinst`, run in this process."""

from __future__ import annotations

import pytest

from condinst import cli


def run_command(*words: object) -> int:
    """Runs ``condinst`` with these arguments. Returns its exit code."""
    with pytest.raises(SystemExit) as exit_info:
        cli.main([str(word) for word in words])
    code = exit_info.value.code
    return code if isinstance(code, int) else 0


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was written to stderr: one line that starts with "error: "."""
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1, text
    return text
