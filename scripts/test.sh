#!/usr/bin/env bash
# Make the environment and run every check. Arguments go to pytest: scripts/test.sh -k audio, scripts/test.sh -m "not slow"
# WORKERS sets the number of test processes: as many as there are cores, at most 8; 0 runs the tests in one process.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$root"
cores="$(nproc)"  # before the next line: nproc goes by OMP_NUM_THREADS
# one thread each: processes that compute with several threads on the same cores starve each other
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" NUMBA_NUM_THREADS="${NUMBA_NUM_THREADS:-1}"
workers="${WORKERS:-$((cores < 8 ? cores : 8))}"
ruff check .
ruff format --check .
pyright
python -m pytest -q -n "$workers" "$@"
