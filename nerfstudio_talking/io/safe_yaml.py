"""Configuration files of Python objects (PyYAML's tags), read so that nothing in the file runs.

PyYAML's own loader for such files imports whatever a tag names and calls it. Here a tag is a word in a table: nothing
is imported, only dataclasses, enumerations and paths are made, and a class or function is found where the table has
it for that very field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from nerfstudio_talking.io.errors import TalkingError

_PREFIX = "tag:yaml.org,2002:python/"
_PATHS = {
    f"pathlib.{module}{kind}"
    for module in ("", "_local.")
    for kind in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
}
MAX_BYTES = 1 << 20
"""A run's file has 12 KB."""


@dataclass
class Registry:
    """What a file may consist of, besides numbers, texts, lists, mappings, tuples and paths."""

    classes: dict[str, type] = field(default_factory=dict)
    """Dataclasses, by module and name."""
    enums: dict[str, type[Enum]] = field(default_factory=dict)
    """Enumerations, by module and name."""
    named: dict[tuple[type, str], dict[str, Any]] = field(default_factory=dict)
    """Classes and functions, by module and name, for each dataclass and field that may have them."""
    values: dict[tuple[type, str], set[type]] = field(default_factory=dict)
    """Types of values besides those of a field's annotation."""

    def add(self, value: Any, owner: tuple[type, str] | None = None) -> None:
        """Register a configuration, and all that it consists of.

        Args:
            value: an instance of a dataclass, or what stands in one.
            owner: the dataclass and field that it stands in.
        """
        if isinstance(value, type) or callable(value):
            if owner is not None:
                self.named.setdefault(owner, {})[full_name(value)] = value
            if isinstance(value, type) and issubclass(value, Enum):
                self.enums[full_name(value)] = value
        elif isinstance(value, Enum):
            self.enums[full_name(type(value))] = type(value)
        elif dataclasses.is_dataclass(value):
            self.classes[full_name(type(value))] = type(value)
            for name, part in vars(value).items():
                self.values.setdefault((type(value), name), set()).add(type(part))
                self.add(part, (type(value), name))
        elif isinstance(value, dict):
            for part in value.values():
                self.add(part, None)
        elif isinstance(value, list | tuple | set):
            for part in value:
                self.add(part, None)


def full_name(thing: Any) -> str:
    """Module and name of a class or function, as in a tag."""
    return f"{thing.__module__}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else type(thing).__name__


def load_objects(path: Path, registry: Registry, hint: str) -> tuple[Any, list[str]]:
    """Read a file of Python objects.

    Args:
        path: the file.
        registry: what it may consist of.
        hint: what the user can do about a file that cannot be read.

    Returns:
        The object, and the names of fields (Class.field) that its classes do not have; these are left out. Fields that
        the file does not have get their defaults.

    Raises:
        TalkingError: the file cannot be read, names something that is not registered, or a field has a value of
            another type than it is declared with.
    """

    def fail(found: str, advice: str = hint) -> TalkingError:
        return TalkingError(path, expected="a readable config.yml", found=found, hint=advice)

    try:
        if path.stat().st_size > MAX_BYTES:
            raise fail(f"{path.stat().st_size} bytes")
        loader = _make_loader(path.read_text(encoding="utf-8"), registry, fail)
        try:
            return loader.get_single_data(), loader.unknown
        finally:
            loader.dispose()
    except RecursionError as error:
        raise fail("structures nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise fail(f"{error.problem or error.context}{line}") from error
    # PyYAML's readers of numbers, dates and keys raise what the conversions raise
    except (yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise fail((str(error).strip() or type(error).__name__).splitlines()[0]) from error


class _ObjectLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with the tags that a registry has."""

    registry: Registry
    fail: Callable[..., TalkingError]
    unknown: list[str]

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge keys, which no dump has, are refused: a few lines of them fill the memory."""
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise self.fail(f"a merge key in line {key.start_mark.line + 1}")

    def refuse(self, node: yaml.Node) -> TalkingError:
        """The error of a tag that is not in the registry."""
        tag = node.tag.replace("tag:yaml.org,2002:", "!!", 1)
        return self.fail(
            f"{tag} in line {node.start_mark.line + 1}, which is no part of a registered method's configuration",
            "Nothing of the file was run. nerfstudio's own commands would run it: open it with ns-train, ns-eval, "
            "ns-render or ns-viewer only if you trust its author.",
        )

    def make_object(self, name: str, node: yaml.Node) -> Any:
        """An instance of a registered dataclass."""
        cls = self.registry.classes.get(name)
        if cls is None or not isinstance(node, yaml.MappingNode):
            raise self.refuse(node)
        self.flatten_mapping(node)
        fields = {item.name: item for item in dataclasses.fields(cls)}
        state = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if key not in fields:
                self.check_unknown(value_node)
                self.unknown.append(f"{cls.__name__}.{key}")
            elif value_node.tag.startswith(f"{_PREFIX}name:"):
                state[key] = self.find_named(cls, key, value_node)
            else:
                state[key] = self.construct_object(value_node, deep=True)
                if not self.fits(cls, key, state[key]):
                    found = f"{cls.__name__}.{key} = {state[key]!r:.60} in line {value_node.start_mark.line + 1}"
                    raise self.fail(f"{found}, which is of another type")
        for key, item in fields.items():
            if key not in state and item.default is dataclasses.MISSING:  # other defaults are the class's attributes
                if item.default_factory is dataclasses.MISSING:
                    raise self.fail(f"no {cls.__name__}.{key} in line {node.start_mark.line + 1}")
                state[key] = item.default_factory()
        # as PyYAML makes it, without __init__: a dump is complete
        instance = object.__new__(cls)
        instance.__dict__.update(state)
        return instance

    def check_unknown(self, node: yaml.Node) -> None:
        """A field that the class does not have is left out, but not without a look at what it is."""
        if not node.tag.startswith(f"{_PREFIX}name:"):
            self.construct_object(node, deep=True)
        elif not any(node.tag.removeprefix(f"{_PREFIX}name:") in names for names in self.registry.named.values()):
            raise self.refuse(node)

    def find_named(self, cls: type, key: str, node: yaml.Node) -> Any:
        """The class or function that a registered method has in this field."""
        name = node.tag.removeprefix(f"{_PREFIX}name:")
        found = self.registry.named.get((cls, key), {})
        if name not in found:
            raise self.refuse(node)
        return found[name]

    def fits(self, cls: type, key: str, value: Any) -> bool:
        """Whether a value is of the type that a field is declared with, or that a registered method has in it."""
        import typeguard

        if type(value) in self.registry.values.get((cls, key), ()) and not isinstance(value, list | tuple | dict):
            return True
        hints = _hints(cls)
        if key not in hints:
            return False
        try:
            typeguard.check_type(
                value,
                hints[key],
                forward_ref_policy=typeguard.ForwardRefPolicy.IGNORE,
                collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS,
            )
        except typeguard.TypeCheckError:
            return False
        return True

    def make_by_call(self, name: str, node: yaml.Node) -> Any:
        """A path from its parts, or a member of a registered enumeration from its value."""
        if not isinstance(node, yaml.SequenceNode):
            raise self.refuse(node)
        arguments = self.construct_sequence(node, deep=True)
        if name in _PATHS:
            if not all(isinstance(part, str) and "\0" not in part for part in arguments):
                raise self.fail(f"a path of {arguments!r:.60} in line {node.start_mark.line + 1}")
            return Path(*arguments)
        if name not in self.registry.enums or len(arguments) != 1:
            raise self.refuse(node)
        return self.registry.enums[name](arguments[0])

    def make_tuple(self, node: yaml.Node) -> tuple[Any, ...]:
        """A tuple from a list."""
        return tuple(self.construct_sequence(node, deep=True))  # type: ignore[arg-type]


def _make_loader(text: str, registry: Registry, fail: Callable[..., TalkingError]) -> _ObjectLoader:
    loader = _ObjectLoader(text)
    loader.registry, loader.fail, loader.unknown = registry, fail, []
    return loader


def _refuse(loader: _ObjectLoader, _: str, node: yaml.Node) -> Any:
    raise loader.refuse(node)


_ObjectLoader.add_constructor(f"{_PREFIX}tuple", _ObjectLoader.make_tuple)
_ObjectLoader.add_multi_constructor(f"{_PREFIX}object/apply:", _ObjectLoader.make_by_call)
_ObjectLoader.add_multi_constructor(f"{_PREFIX}object:", _ObjectLoader.make_object)
_ObjectLoader.add_multi_constructor(None, _refuse)  # type: ignore[arg-type]  # every other tag


def _hints(cls: type) -> dict[str, Any]:
    """Annotations of a dataclass's fields; none where they name what is imported for type checkers only."""
    try:
        return get_type_hints(cls)
    except NameError:
        return {}
