"""Drives CMake and lists the packages; what is compiled, and how, is in CMakeLists.txt."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
OPS = "condinst.libcondinst_ops"


class CMakeBuild(build_ext):
    """Builds both shared objects with one CMake run, into the folder where setuptools expects them."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.for_this_tree = bool(self.inplace)  # which setuptools puts aside while it builds

    def build_extensions(self) -> None:
        build = Path(self.build_temp).resolve()
        package = Path(self.get_ext_fullpath(OPS)).resolve().parent
        options = [
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DCONDINST_VERSION={self.distribution.get_version()}",
        ]
        if self.for_this_tree or self.editable_mode:  # where the tests run, and never in a wheel
            options.append("-DCONDINST_CUDA_ON_HOST=ON")
        for name in ("CONDINST_CUDA", "CONDINST_CUDA_ARCHITECTURES"):
            if name in os.environ:
                options.append(f"-D{name}={os.environ[name]}")
        subprocess.check_call(["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", *options])
        subprocess.check_call(["cmake", "--build", build])
        subprocess.check_call(["cmake", "--install", build, "--prefix", package])

    def get_ext_filename(self, fullname: str) -> str:
        # The operator library holds no Python, so its name carries no Python version.
        return "condinst/libcondinst_ops.so" if fullname == OPS else super().get_ext_filename(fullname)


setup(
    packages=[
        *find_packages(include=["condinst", "condinst.*"]),
        "condinst.kernels",
        *(f"condinst.kernels.{name}" for name in find_packages("kernels")),
    ],
    ext_modules=[Extension(OPS, sources=[]), Extension("condinst._host", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
