# make install | test | demo | lint | bench | fuzz | sanitize | gpu | abi | clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXAMPLES := examples/nuclei

.PHONY: install build test demo lint bench fuzz sanitize gpu abi clean

install: $(INSTALLED)

# torch comes first and pinned, so that the library is compiled against the one it will run with.
$(INSTALLED): pyproject.toml setup.py constraints.txt CMakeLists.txt $(shell find csrc kernels tests/cuda_on_host -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name CMakeLists.txt)
	test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("condinst needs Python 3.11 or newer: make install PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'setuptools>=77' pybind11 cmake ninja
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[test]'
	touch $(INSTALLED)

# After a change in csrc/ or kernels/: compiles only what changed.
build:
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python setup.py build_ext --inplace

test: install
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

demo: install
	$(BIN)/condinst predict $(EXAMPLES)/*.jpg --out outputs/demo
	$(BIN)/condinst evaluate --weights condinst_nano --data $(EXAMPLES)/annotations.json --max-dets 500

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

# Runs tests/fuzz on new random examples: make fuzz SECONDS=600
SECONDS ?= 600
fuzz: install
	$(BIN)/python tests/fuzz/run.py $(SECONDS)

# The C++ under AddressSanitizer and UndefinedBehaviorSanitizer, with the tests that call it.
sanitize: install
	PYTHON=$(BIN)/python tests/sanitize/run.sh

# On a machine with a GPU, with the Python found there and without network: build in place, test, time, sanitize.
gpu:
	$(PYTHON) tests/gpu/run.py

# Tests the one library in several versions of torch, or in those that are named: make abi TORCH=2.11.0
# Each is a download of gigabytes and takes minutes.
abi: install
	$(BIN)/python tests/abi/check_abi.py $(TORCH)

clean:
	rm -rf build outputs *.egg-info condinst/*.so $(VENV)
