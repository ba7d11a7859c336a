"""The command `condinst`, a file per topic.

Torch is imported inside the commands, so that `condinst predict --help` does not wait for more than it needs.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from . import benchmark, data, evaluate, explain, predict, tools, train  # noqa: F401  (each adds its commands)
from .app import app

__all__ = ["app", "main"]


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and exits: 0 done, 1 an error (named on stderr), 2 wrong usage, 130 interrupted.

    Args:
        arguments: the words after `condinst`; those of the process by default.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may have characters that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app(args=arguments, prog_name="condinst")
    except Exception as error:
        if os.environ.get("CONDINST_DEBUG", "0") not in ("", "0"):
            raise
        expected = isinstance(error, (ValueError, OSError, FloatingPointError))
        hint = "" if expected else f" ({type(error).__name__}; CONDINST_DEBUG=1 shows where)"
        print(f"error: {_describe(error)}{hint}", file=sys.stderr)
        raise SystemExit(1) from None


def _describe(error: Exception) -> str:
    """What went wrong; an error of the system without its number, and with its file in front."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        if isinstance(error, FileExistsError | NotADirectoryError):  # of the folder for results
            return f"{error.filename}: expected a folder, got a file or a path through one"
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _print_version(wanted: bool) -> None:
    if wanted:
        import condinst

        print(f"condinst {condinst.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
