"""What `ns-talking --help` says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import docstring_parser
import pytest

from nerfstudio_talking.cli import main

NAMES = {
    "bake",
    "batch",
    "check",
    "doctor",
    "drive",
    "export",
    "motion",
    "motion finetune",
    "motion generate",
    "motion show",
    "motion train",
    "path",
    "process",
    "render",
    "render-frames",
    "score",
    "serve",
    "verify",
}
COMMANDS = sorted(NAMES - {"motion"})
"""All but the one that only holds others."""


def help_text(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main.parse([*arguments, "--help"])
    assert end.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    return re.sub(r"\x1b\[[0-9;]*m", "", out)


def option_docstrings(options: type) -> Iterator[tuple[str, str | None]]:
    """Name and docstring of each option of a dataclass, with those of the dataclasses it holds."""
    docstrings: dict[str, str | None] = {}
    for cls in reversed(options.__mro__):
        if dataclasses.is_dataclass(cls):
            docstrings |= {item.arg_name: item.description for item in docstring_parser.parse_from_object(cls).params}
    hints: dict[str, Any] = get_type_hints(options)
    for field in dataclasses.fields(options):
        yield f"{options.__name__}.{field.name}", docstrings.get(field.name)
        for kind in (hints[field.name], *get_args(hints[field.name])):
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                yield from option_docstrings(kind)


def test_names() -> None:
    assert set(main.SUBCOMMANDS) == NAMES


def test_list_of_subcommands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = help_text([], capsys)
    words = " ".join(text.replace("│", " ").split())
    for name in NAMES:
        if " " not in name:
            assert f"• {name} {main.SUBCOMMANDS[name].summary}" in words
    # the first line lists all names, which tyro does not wrap
    assert max(map(len, text.splitlines()[1:])) <= 120


def test_list_of_motion_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    words = " ".join(help_text(["motion"], capsys).replace("│", " ").split())
    for name in NAMES:
        if name.startswith("motion "):
            assert f"• {name.split()[1]} {main.SUBCOMMANDS[name].summary}" in words


@pytest.mark.parametrize("name", COMMANDS)
def test_subcommand(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    subcommand = main.SUBCOMMANDS[name]
    text = help_text(name.split(), capsys)
    assert text.startswith(f"usage: ns-talking {name} [-h]")
    words = " ".join(text.replace("│", " ").split())
    assert " ".join((subcommand.options.__doc__ or "").split()) in words
    assert f"\nExample:\n  ns-talking {subcommand.example}\n" in text
    for option, docstring in option_docstrings(subcommand.options):
        assert docstring is not None and docstring in words, option
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", sorted(NAMES))
def test_summary_is_a_sentence(name: str) -> None:
    assert re.fullmatch(r"[A-Z][^\n]*\.", main.SUBCOMMANDS[name].summary)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_sentence(name: str) -> None:
    docstrings = dict(option_docstrings(main.SUBCOMMANDS[name].options))
    assert docstrings
    for option, text in docstrings.items():
        assert text is not None, f"{option} has no docstring"
        assert text.endswith("."), f"{option}: {text}"
        # the help text would be broken in the middle of the sentence
        assert "\n" not in text, f"{option}: the docstring must be one line"
