#!/usr/bin/env bash
# Make the environment and run every check. Arguments go to pytest: scripts/test.sh -k audio
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$root"
ruff check .
ruff format --check .
pyright
python -m pytest -q "$@"
