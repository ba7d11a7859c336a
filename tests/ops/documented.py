"""How a call of a public operator may end: with a result, or with an exception that the operators document."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from condinst.testing import OpSpec

NO_MEMORY = ("memory", "bad_alloc", "calculation overflowed", "multiplication overflow")
"""Words of PyTorch where a call asks for more memory than there is, or for more bytes than an integer can count."""


def check_documented(spec: OpSpec, call: Callable[[], Any], what: str) -> None:
    """Call, and fail for an exception that the operators do not document.

    The message of a TypeError or ValueError begins with the name of an argument or of the operator; PyTorch's own
    messages do not. The argument may be one that was not changed: an option may contradict it.
    """
    try:
        call()
    except (ValueError, TypeError) as error:
        name = re.match(r"\w+(?=[\[\]\w., ]*:)", str(error))
        names = {*inspect.signature(spec.op).parameters, spec.name}
        assert name and name[0] in names, f"{spec.name}: {what}: {type(error).__name__}: {error}"
    except (RuntimeError, MemoryError) as error:
        assert any(word in repr(error) for word in NO_MEMORY), f"{spec.name}: {what}: {type(error).__name__}: {error}"
