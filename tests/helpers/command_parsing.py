"""Parses command lines by the commands' own parsers, and runs none of them."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import runpy
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any


class _ParsedError(BaseException):
    """The arguments were parsed; what would follow is not run. No `except Exception` of a command stops it."""


def parse_errors(calls: list[dict[str, Any]]) -> list[str | None]:
    """What is wrong with each call; None where it parses.

    Args:
        calls: `words`, a console script or a path ending in .py and its arguments, and `is_whole`: of a call that is
            not whole only the subcommand and the names of the options are checked.
    """
    with _parsing_only():
        return [_error(call["words"], call["is_whole"]) for call in calls]


def _error(words: list[str], is_whole: bool) -> str | None:
    if is_whole:
        code, text = _call(words)
        return None if code in (None, 0) else text
    if words[:2] == ["ns-train", "..."]:  # of any method
        words = ["ns-train", "splat-portrait", *words[2:]]
    # up to the first option; placeholders in capitals are no subcommands
    head = [words[0]]
    for word in words[1:]:
        if not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        head.append(word)
    code, text = _call([*head, "--help"])
    if code != 0:
        return text
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        if not re.search(rf"{re.escape(option)}(?![\w.-])", text):
            return f"{' '.join(head)} has no option {option}"
    return None


def _call(words: list[str]) -> tuple[object, str]:
    """Exit code (None: parsed) and what was printed."""
    output = io.StringIO()
    path, arguments = sys.path[:], sys.argv
    sys.argv = list(words)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            if words[0].endswith(".py"):
                sys.path.insert(0, str(Path(words[0]).resolve().parent))
                runpy.run_path(words[0], run_name="__main__")
            else:
                scripts = list(entry_points(group="console_scripts", name=words[0]))
                if not scripts:
                    return 1, f"there is no command {words[0]}"
                scripts[0].load()()
    except _ParsedError:
        return None, ""
    except SystemExit as end:
        return end.code, re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue())
    finally:
        sys.path[:], sys.argv = path, arguments
    return 1, "it ran without parsing its arguments"


@contextlib.contextmanager
def _parsing_only() -> Iterator[None]:
    import tyro

    cli, parse_args = tyro.cli, argparse.ArgumentParser.parse_args

    def parse_by_tyro(*args: Any, **options: Any) -> None:
        cli(*args, **options)
        raise _ParsedError

    def parse_by_argparse(*args: Any, **options: Any) -> None:
        parse_args(*args, **options)
        raise _ParsedError

    os.environ["COLUMNS"] = "200"
    tyro.cli = parse_by_tyro
    argparse.ArgumentParser.parse_args = parse_by_argparse  # type: ignore[method-assign]
    try:
        yield
    finally:
        tyro.cli, argparse.ArgumentParser.parse_args = cli, parse_args  # type: ignore[method-assign]
