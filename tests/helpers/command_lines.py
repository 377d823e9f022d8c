"""The command lines that Markdown pages show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = re.compile(r"ns-[a-z-]+|python3?|bash|scripts/[\w/]+\.sh|pip|docker|sphinx-build")
"""Programs whose lines are taken."""
_SHELL = ("bash", "sh", "console")
_FENCE = re.compile(r"^ *(```+|~~~+|:::+) *\{?([\w-]*)\}?.*?$\n(.*?)^ *\1 *$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^\n|\A)((?:^ {4}.*\n(?:^\n(?=^ {4}))?)+)", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True)
class CommandLine:
    """A command line and where it stands."""

    page: Path
    words: tuple[str, ...]
    is_whole: bool
    """Whether it can be typed as it is; otherwise it stands in a sentence, and may be cut short."""

    def __str__(self) -> str:
        return f"{self.page.name}: {shlex.join(self.words)}"


def command_lines(page: Path) -> Iterator[CommandLine]:
    """Lines of the page's shell blocks, and the commands that stand in its sentences and tables."""
    text = page.read_text(encoding="utf-8")
    for _, language, body in _FENCE.findall(text):
        if language in _SHELL:
            yield from _lines(page, body, is_whole=True)
    prose = _FENCE.sub("\n", text)
    for block in _INDENTED.findall(prose):
        yield from _lines(page, re.sub("^ {4}", "", block, flags=re.MULTILINE), is_whole=True)
    for span in _SPAN.findall(prose):
        yield from _lines(page, " ".join(span.replace("\\|", "|").split()), is_whole=False)


def _lines(page: Path, text: str, is_whole: bool) -> Iterator[CommandLine]:
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:  # no shell's line, such as a sentence with an apostrophe
            continue
        for part in _split(words):
            while part and re.fullmatch(r"[A-Z_]+=.*", part[0]):
                part = part[1:]
            if part and PROGRAMS.fullmatch(part[0]):
                yield CommandLine(page, tuple(part), is_whole)


def _split(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word in ("&&", "||", "|", ";", "&"):
            yield part
            part = []
        else:
            part.append(word)
    yield part
