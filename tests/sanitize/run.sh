#!/usr/bin/env bash
# `make sanitize`: builds the operator library and condinst._host under AddressSanitizer and UndefinedBehaviorSanitizer
# and runs the tests that call them on each instruction set that this CPU has. Before that two planted mistakes must be
# reported, so that a build or a run without instrumentation fails.
#
#   PYTHON         the interpreter that has torch, the build tools and pytest; default .venv/bin/python
#   JOBS           processes at a time; default: one for each CPU
#   CUDA_ON_HOST   1: also the CUDA kernels that are built for the CPU, which doubles the time
#
# The first report ends the process it is in, and so the run. Nothing is installed; all of it is in build/sanitize.
set -euo pipefail
cd "$(dirname "$0")/../.."

python="$(realpath --no-symlinks "${PYTHON:-.venv/bin/python}")"
jobs="${JOBS:-$(nproc)}"
with_cuda="${CUDA_ON_HOST:-0}"
build=build/sanitize
package=$build/package
PATH="$(dirname "$python"):$PATH"

mkdir -p $build
cmake -S . -B $build -G Ninja -DPython_EXECUTABLE="$python" -DCONDINST_CUDA=0 -DCONDINST_CUDA_ON_HOST="$with_cuda" \
  -DCONDINST_SANITIZE=ON -DCONDINST_VERSION=0 >$build/configure.log || { cat $build/configure.log; exit 1; }
cmake --build $build --parallel "$jobs"
echo "built after $SECONDS s"

# The package with these libraries in place of those that are installed.
rm -rf $package
mkdir -p $package/condinst
for path in condinst/*; do
  if [[ $path != *.so ]]; then ln -s "$PWD/$path" $package/$path; fi
done
cmake --install $build --prefix $package/condinst >/dev/null

compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' $build/CMakeCache.txt)
# Python frees nothing at its end; tests/ops/test_native_memory.py looks for leaks. A request for more memory than there is
# must fail as it does without the sanitizer.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export PYTHONMALLOC=malloc   # so that AddressSanitizer knows the bounds of Python's objects
export PYTHONSAFEPATH=1      # the folder of this project, which has a package of that name, is not looked at first
export PYTHONPATH="$PWD/$package:$PWD"

preload="$("$compiler" -print-file-name=libasan.so) $("$compiler" -print-file-name=libstdc++.so)"

# sanitized ARGUMENTS...: Python with the sanitized libraries
sanitized() {
  LD_PRELOAD="$preload" "$python" "$@"
}

# run NAME TESTS...: those tests, for the instruction set and the library in the environment
run() {
  local name="$1" start=$SECONDS
  shift
  sanitized -m pytest -q -n "$jobs" --dist worksteal -p no:cacheprovider -o pythonpath= "$@"
  echo "$name: no report, $((SECONDS - start)) s"
}

# fail WORDS...: ends the run with a message
fail() {
  echo "$*" >&2
  exit 1
}

# reports CALL MESSAGE: a call of the canary ends its process with that report
reports() {
  local output
  if output=$(sanitized -c "import ctypes; ctypes.CDLL('$PWD/$build/libcondinst_canary.so').$1" 2>&1); then
    fail "canary: $1: no report; the build or the run is not instrumented"
  fi
  [[ $output == *"$2"* ]] || fail "canary: $1: expected the report '$2', got: $output"
}

# has_features NAMES...: whether this CPU has all of them
has_features() {
  local feature
  for feature in "$@"; do grep -qw "$feature" /proc/cpuinfo || return 1; done
}

# has_isa NAME: whether this CPU has what kernels/common/cpu_isa.cpp asks for
has_isa() {
  case $1 in
    baseline) ;;
    avx2) has_features avx2 fma f16c ;;
    avx512) has_isa avx2 && has_features avx512f avx512bw avx512dq avx512vl ;;
  esac
}

sanitized -c "import ctypes; ctypes.CDLL('$PWD/$build/libcondinst_canary.so').read_heap(7)"
reports 'read_heap(8)' heap-buffer-overflow
reports 'add_one(2**31 - 1)' 'signed integer overflow'
echo "the planted mistakes are reported"

specs=(tests/ops/test_op_specs.py -k "cpp and not compiles")
extreme=(tests/ops/test_extreme_arguments.py -k "not reference")  # which runs none of our code
seeds=(tests/fuzz/test_operators.py)
readers=(tests/ops/test_native_memory.py tests/data/test_rles.py tests/fuzz/test_readers.py)  # the same on all sets

unset CONDINST_CPU_ISA
for isa in baseline avx2 avx512; do
  if ! has_isa $isa; then
    echo "$isa: NOT RUN, this CPU lacks it"
    continue
  fi
  export CONDINST_CPU_ISA=$isa CONDINST_LIBRARY="$PWD/$package/condinst/libcondinst_ops.so"
  loaded=$(sanitized -c 'from condinst import _host; print(_host.cpu_isa(), _host.__file__)')
  [[ $loaded == "$isa $PWD/$package/"* ]] || fail "$isa: expected the sanitized module for it, got: $loaded"
  run "operators, $isa" "${specs[@]}"
  run "extreme arguments, $isa" "${extreme[@]}"
  run "fuzz seeds, $isa" "${seeds[@]}"
done
unset CONDINST_CPU_ISA
run "readers and native memory" "${readers[@]}"
if [[ $with_cuda == 1 ]]; then
  CONDINST_LIBRARY=$PWD/$build/libcondinst_ops_cuda_on_host.so run "operators, CUDA on the host" "${specs[@]}"
fi
echo "done after $SECONDS s"
