"""Errors that are meant for the user, as one line, in nerfstudio's own commands too."""

from __future__ import annotations

import sys
from types import TracebackType

from nerfstudio_talking.io.errors import TalkingError


def report_errors_in_one_line() -> None:
    """Let the interpreter print a `TalkingError` that nobody catches as its message alone, without a traceback, and end
    with exit code 1 as before. Any other exception is printed as it was; a second call changes nothing."""
    before = sys.excepthook
    if getattr(before, "reports_talking_errors", False):
        return

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, TalkingError):
            sys.stderr.write(f"Error: {error}\n")
        else:
            before(kind, error, trace)

    report.reports_talking_errors = True  # type: ignore[attr-defined]
    sys.excepthook = report
