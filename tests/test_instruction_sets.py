"""The kernel tests once more as other CPUs compute them: torch and numba choose their machine code by instruction set.

Every test with the marker `kernel` runs in a process for each variant, whatever this machine's CPU is.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from helpers.paths import ROOT

VARIANTS = {
    "the oldest CPU": (
        {"ATEN_CPU_CAPABILITY": "default", "NUMBA_CPU_NAME": "generic"},
        "import torch; assert torch.backends.cpu.get_cpu_capability() == 'DEFAULT'; "
        "import numba; assert numba.config.CPU_NAME == 'generic'",
    ),
    "torch with AVX2": (
        {"ATEN_CPU_CAPABILITY": "avx2"},
        "import torch; assert torch.backends.cpu.get_cpu_capability() == 'AVX2'",
    ),
}
"""Environment, and a statement that fails where it has no effect."""


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_kernels_hold_their_bounds_under_other_instruction_sets(variant, tmp_path):
    environment, check = VARIANTS[variant]
    if environment.get("ATEN_CPU_CAPABILITY") == "avx2" and "AVX" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("this CPU has no AVX2")
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.kernel\n" in path.read_text()]
    assert files
    program = f"{check}; import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    options = ["-q", "-m", "kernel", "-p", "no:cacheprovider", "-p", "no:xdist"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    if "NUMBA_CPU_NAME" in environment:  # machine code for one CPU must not be found by another
        inherited["NUMBA_CACHE_DIR"] = str(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", program, *options, *files],
        env={**inherited, **environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
    assert "skipped" not in result.stdout.splitlines()[-1]
