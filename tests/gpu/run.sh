#!/usr/bin/env bash
# `make gpu`: build in place, test, sanitize and time on a machine with a GPU and no network, in under 9 minutes.
#
#   PYTHON            the interpreter that has torch >= 2.11, the build tools and pytest; default python3
#   GPU_SECONDS       for everything; default 510
#   BENCHMARKS        which of benchmarks/bench_*.py, such as "nms mask_head"; default all, as far as the time goes: the
#                     rest is for a second run
#   OUT               a folder; log and results are copied there
#   .whl/             wheels of what that Python lacks (pycocotools), unpacked into a temporary folder
#
# Nothing is installed. A stage that fails or outlasts its time does not stop the later ones; the summary at the end has
# them all, and the exit status is 1 when one of them failed.
#
# On a GPU nothing of this has run yet. Tried on a machine without one: the build (Python 3.12, torch 2.11), the wheels,
# and the way through `device` (which fails), `build` and `backends`. So the tests marked gpu, compute-sanitizer's options
# and the times of the stages are untried.
set -uo pipefail
cd "$(dirname "$0")/../.."

python="${PYTHON:-python3}"
total="${GPU_SECONDS:-510}"
log=outputs/gpu/gpu.log
mkdir -p outputs/gpu
: >"$log"
temporary="$(mktemp -d)"
summary=()
failed=0

# condinst.kernels is the folder kernels/ where condinst is installed; here, a link stands in for that.
trap 'rm -rf "$temporary"; test ! -L condinst/kernels || rm condinst/kernels' EXIT

# stage NAME SECONDS COMMAND...: at most that long, and no longer than what is left
stage() {
  local name="$1" limit="$2" status start=$SECONDS left=$((total - SECONDS))
  shift 2
  if ((left < limit)); then limit=$left; fi
  printf '\n%s: %s\n' "$name" "$*" | tee -a "$log"
  if ((limit <= 0)); then
    status="FAILED: no time left"
  else
    timeout --kill-after=5 "$limit" "$@" 2>&1 | tee -a "$log"
    case "${PIPESTATUS[0]}" in
      0) status=passed ;;
      124 | 137) status="FAILED: not done in $limit s" ;;
      *) status="FAILED" ;;
    esac
  fi
  if [[ $status != passed ]]; then failed=1; fi
  summary+=("$(printf '%-24s %4d s  %s' "$name" $((SECONDS - start)) "$status")")
}

# not_run NAME REASON
not_run() {
  summary+=("$(printf '%-24s         NOT RUN: %s' "$1" "$2")")
}

# sanitize TOOL
sanitize() {
  if command -v compute-sanitizer >/dev/null; then
    # Each tensor in an allocation of its own, so that an access beyond it is seen.
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 stage "$1" 75 compute-sanitizer --tool "$1" --error-exitcode 1 \
      "$python" tests/gpu/sanitize.py
  else
    not_run "$1" "compute-sanitizer is not in PATH"
  fi
}

if compgen -G '.whl/*.whl' >/dev/null; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$temporary/site" .whl/*.whl
fi
export PYTHONPATH="$PWD:$temporary/site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 KINETO_LOG_LEVEL=6

# For this GPU alone where its architecture is known, which is quicker; make test checks the list that is shipped.
if [[ -z ${CONDINST_CUDA_ARCHITECTURES:-} ]] && capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null); then
  export CONDINST_CUDA_ARCHITECTURES="$(head -1 <<<"$capability" | tr -d '.')-real"
fi

stage device 20 "$python" -c 'import torch; print(torch.__version__, torch.cuda.get_device_name())'
has_device=$((!failed))
CONDINST_CUDA=1 stage build 150 "$python" setup.py --quiet build_ext --inplace
test -e condinst/kernels || ln -s ../kernels condinst/kernels
stage backends 30 "$python" -c '
from condinst.backends import backend_table
for row in backend_table():
    print(row.op, row.backend, row.status, row.reason, sep="\t")'
if ((has_device)); then
  stage test 180 "$python" -m pytest -q -m gpu -p no:cacheprovider tests/ops tests/models
  sanitize memcheck
  sanitize racecheck
  for name in ${BENCHMARKS:-$(basename -s .py benchmarks/bench_*.py | sed s/bench_//)}; do
    stage "bench_$name" 75 "$python" "benchmarks/bench_$name.py"
  done
else
  not_run "test, sanitize, bench" "no CUDA device"
fi

printf '\n' | tee -a "$log"
printf '%s\n' "${summary[@]}" | tee -a "$log"
if [[ -n ${OUT:-} ]]; then
  cp "$log" benchmarks/results/*.csv "$OUT"
fi
exit "$failed"
