"""Errors meant for the user in commands that are not ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
from nerfstudio_talking.io.error_reports import report_errors_in_one_line
from nerfstudio_talking.io.errors import TalkingError
report_errors_in_one_line()
report_errors_in_one_line()
raise {error}
"""


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [("TalkingError('[b] :b:.mp4', expected='a', found='b', hint='Do c.')", True), ("ValueError('no')", False)],
)
def test_one_line_without_a_traceback(error, is_ours):
    done = subprocess.run([sys.executable, "-c", _SCRIPT.format(error=error)], capture_output=True, text=True)
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) != is_ours
    if is_ours:
        assert done.stderr == "Error: [b] :b:.mp4: expected a; found b. Do c.\n"
