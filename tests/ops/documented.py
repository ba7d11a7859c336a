"""Checks that a call of a public operator returns a result, or raises an exception that the operators document."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from condinst.testing import OpSpec

NO_MEMORY = ("memory", "bad_alloc", "calculation overflowed", "multiplication overflow")
"""Parts of PyTorch's messages for a call that needs more memory than there is, or more bytes than an integer holds."""


def check_documented(spec: OpSpec, call: Callable[[], Any], what: str) -> None:
    """Call, and fail for an exception that the operators do not document.

    The message of a TypeError or ValueError begins with the name of an argument or of the operator; messages of PyTorch
    do not. It may be an argument that was not changed, because an option can contradict it.
    """
    try:
        call()
    except (ValueError, TypeError) as error:
        name = re.match(r"\w+(?=[\[\]\w., ]*:)", str(error))
        names = {*inspect.signature(spec.op).parameters, spec.name}
        assert name and name[0] in names, f"{spec.name}: {what}: {type(error).__name__}: {error}"
    except (RuntimeError, MemoryError) as error:
        assert any(word in repr(error) for word in NO_MEMORY), f"{spec.name}: {what}: {type(error).__name__}: {error}"
