"""YAML whose values know the line they stand in, so that every mistake is named with its place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from nerfstudio_talking.io.errors import TalkingError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of videos, voices and recipes: they become parts of paths."""
_TYPES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "nothing"}


class YamlNode:
    """A value of a YAML file with its place.

    Args:
        node: the value as PyYAML composes it; None for a value that is not there.
        file: the file's name for messages.
        path: the keys that lead to it.
    """

    def __init__(self, node: yaml.Node, file: str, path: str = "") -> None:
        self._node, self._file, self._path = node, file, path

    @property
    def where(self) -> str:
        """File, line and keys, for messages."""
        line = self._node.start_mark.line + 1
        return f"{self._file}, line {line}" + (f", {self._path}" if self._path else "")

    def fail(self, expected: str, hint: str, found: str | None = None) -> NoReturn:
        """Raise the error that this value is not what it should be."""
        raise TalkingError(self.where, expected=expected, found=found or self._found(), hint=hint)

    def _found(self) -> str:
        if isinstance(self._node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self._node, yaml.SequenceNode):
            return "a list"
        return repr(self._node.value) if self._node.value else "nothing"

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return isinstance(self._node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        """Whether it has items."""
        return isinstance(self._node, yaml.SequenceNode)

    @property
    def is_nothing(self) -> bool:
        """Whether it is empty or null."""
        return isinstance(self._node, yaml.ScalarNode) and self._node.tag == "tag:yaml.org,2002:null"

    def items(self, hint: str) -> Iterator[tuple[str, YamlNode]]:
        """Keys and values of a mapping; a key that stands twice is an error."""
        if not isinstance(self._node, yaml.MappingNode):
            self.fail("a mapping", hint)
        seen: dict[str, str] = {}
        for key, value in self._node.value:
            child = YamlNode(key, self._file, self._path)
            if not isinstance(key, yaml.ScalarNode) or not key.value or key.tag == "tag:yaml.org,2002:merge":
                child.fail("a name as key", "Write each entry as NAME: VALUE; merge keys (<<) are not read.")
            name = str(key.value)
            path = f"{self._path}.{name}" if self._path else name
            child = YamlNode(key, self._file, path)
            if name in seen:
                child.fail("every name once", f"It stands in {seen[name]} already.", found=f"{name} twice")
            seen[name] = f"line {key.start_mark.line + 1}"
            yield name, YamlNode(value, self._file, path)

    def fields(self, known: tuple[str, ...], required: tuple[str, ...] = ()) -> dict[str, YamlNode]:
        """The values of a mapping with fixed keys; those that are empty are left out.

        Raises:
            TalkingError: a key is not known, or a required one is missing.
        """
        hint = f"Its keys are {', '.join(known)}."
        found = {}
        for name, value in self.items(hint):
            if name not in known:
                value.fail(f"one of the keys {', '.join(known)}", "Check the spelling.", found=name)
            if not value.is_nothing:
                found[name] = value
        for name in required:
            if name not in found:
                self.fail(f"the key {name}", hint, found="none")
        return found

    def elements(self, hint: str) -> list[YamlNode]:
        """The items of a list."""
        if not isinstance(self._node, yaml.SequenceNode):
            self.fail("a list", hint)
        return [YamlNode(item, self._file, f"{self._path}[{i}]") for i, item in enumerate(self._node.value)]

    def scalar(self, hint: str) -> str | int | float | bool | None:
        """Text, a number, true, false or nothing."""
        if not isinstance(self._node, yaml.ScalarNode):
            self.fail("a single value", hint)
        loader = yaml.SafeLoader("")
        try:
            value: Any = loader.construct_object(self._node)  # type: ignore[no-untyped-call]
        except (yaml.YAMLError, ValueError) as error:
            self.fail("a single value", hint, found=str(error).split("\n")[0])
        if not isinstance(value, tuple(_TYPES)):  # a date, binary data
            return str(self._node.value)
        if isinstance(value, float) and not math.isfinite(value):
            self.fail("a finite number", hint)
        return value

    def text(self, hint: str) -> str:
        """A text that is not empty."""
        value = self.scalar(hint)
        if not isinstance(value, str) or not value:
            self.fail("text", hint)
        return value

    def truth(self, hint: str) -> bool:
        """True or false."""
        value = self.scalar(hint)
        if not isinstance(value, bool):
            self.fail("true or false", hint)
        return value

    def number(self, hint: str, least: float = 0, whole: bool = False) -> float:
        """A number, at least `least`."""
        value = self.scalar(hint)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (whole and not isinstance(value, int)):
            self.fail("a whole number" if whole else "a number", hint)
        if value < least:
            self.fail(f"at least {least:g}", hint)
        return value

    def texts(self, hint: str) -> tuple[str, ...]:
        """One text, or a list of them."""
        return tuple(item.text(hint) for item in self.elements(hint)) if self.is_list else (self.text(hint),)


def read_yaml(text: str, file: str) -> YamlNode:
    """The root of a YAML document; nothing in it is executed.

    Args:
        text: the document.
        file: its name for messages.

    Raises:
        TalkingError: it is empty, or no YAML, or more than one document.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = file if mark is None else f"{file}, line {mark.line + 1}"
        hint = "Check indentation, colons and quotes near there."
        raise TalkingError(where, expected="YAML", found=error.problem or "a mistake", hint=hint) from error
    except yaml.YAMLError as error:
        found = " ".join(str(error).split())
        raise TalkingError(file, expected="YAML", found=found, hint="Save it as text in UTF-8.") from error
    if node is None:
        raise TalkingError(file, expected="a job file", found="an empty file", hint="docs/batch.md has an example.")
    return YamlNode(node, file)
