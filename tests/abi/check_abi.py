"""Loads the one operator library in several versions of torch and compares it with the reference there.

Not part of the test run: every torch is a download of gigabytes. ``make abi``, or with versions of your own::

    python tests/abi/check_abi.py 2.11.0 2.15.0
    python tests/abi/check_abi.py path/to/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl

Each version gets a fresh virtual environment in a temporary folder, which is deleted again. Nothing is compiled: the
environment imports this tree with the library that was built before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("2.11.0", "2.12.0", "2.13.0", "2.14.1", "2.15.0")

# The package imports torchvision and more. The operators need only pycocotools, so empty modules stand in.
CHECK = """
import sys, types
package = types.ModuleType("condinst")
package.__path__ = [sys.argv[1] + "/condinst"]
sys.modules.update(condinst=package, torchvision=types.ModuleType("torchvision"))
import torch
from condinst.backends.native import library
assert library.ERROR is None, library.ERROR
from condinst.testing import SPECS, check
for spec in SPECS:
    if spec.name != "nms":  # its reference is torchvision's
        check(spec, "cpp", torch.device("cpu"))
    for name, args in spec.native_calls(torch.device("cpu")):
        torch.library.opcheck(getattr(torch.ops.condinst, name).default, args)
print(torch.__version__, "right:", *(spec.name for spec in SPECS), "|", torch.ops.condinst.cuda_info())
"""


def check(torch: str) -> bool:
    """Whether the library is right in one torch, given as a version or as the path of a wheel."""
    with tempfile.TemporaryDirectory(prefix="condinst-abi-") as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin/python")
        requirement = torch if torch.endswith(".whl") else f"torch=={torch}"
        install = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir"]
        subprocess.run([*install, requirement, "numpy", "pycocotools"], check=True)
        environment = {**os.environ, "CONDINST_BACKEND": "auto"}
        return subprocess.run([python, "-c", CHECK, str(ROOT)], cwd=folder, env=environment).returncode == 0


if __name__ == "__main__":
    outcomes = {torch: check(torch) for torch in sys.argv[1:] or VERSIONS}
    for torch, right in outcomes.items():
        print(f"torch {torch}: {'right' if right else 'WRONG, see above'}")
    sys.exit(not all(outcomes.values()))
