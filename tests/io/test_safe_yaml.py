"""Configuration files of objects: what is built, and what is refused without being run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.safe_yaml import Registry, full_name, load_objects


class Color(Enum):
    RED = "red"


class Engine:
    """A target, which a configuration names."""


@dataclass
class Part:
    _target: type = Engine
    size: float = 1.0
    path: Path | None = None


@dataclass
class Whole:
    part: Part = field(default_factory=Part)
    parts: dict[str, Any] = field(default_factory=dict)
    sizes: tuple[int, ...] = (1, 2)
    color: Color = Color.RED


REGISTRY = Registry()
REGISTRY.add(Whole())


def read(folder: Path, text: str) -> Any:
    path = folder / "config.yml"
    path.write_text(text, encoding="utf-8")
    return load_objects(path, REGISTRY, "Train again.")


def tag(kind: str, thing: Any) -> str:
    return f"!!python/{kind}:{full_name(thing)}"


def test_a_dump_is_read_as_it_was(tmp_path):
    whole = Whole(Part(size=2, path=Path("a/b")), {"x": Part(path=Path("/c")), "y": [1.5, None]}, (3,), Color.RED)
    assert read(tmp_path, yaml.dump(whole)) == (whole, [])


def test_missing_fields_have_defaults_and_unknown_ones_are_named(tmp_path):
    got, unknown = read(tmp_path, f"{tag('object', Part)}\nsize: 3\nweight: 4\n")
    assert got == Part(size=3) and unknown == ["Part.weight"] and not hasattr(got, "weight")


HOSTILE = {
    "call": "!!python/object/apply:os.system ['touch {ran}']",
    "call with words": "!!python/object/apply:subprocess.Popen\nargs: [['touch', '{ran}']]",
    "eval": "!!python/object/apply:builtins.eval [\"open('{ran}', 'w')\"]",
    "new": "!!python/object/new:subprocess.Popen [['touch', '{ran}']]",
    "new with state": "!!python/object/new:type\nargs: [z, !!python/tuple [], {{extend: !!python/name:exec }}]\n"
    "listitems: \"open('{ran}', 'w')\"",
    "module": "!!python/module:antigravity",
    "name": "!!python/name:os.system",
    "object of another package": "!!python/object:fractions.Fraction {{_numerator: 1, _denominator: 0}}",
    "class of ours that is no configuration": "!!python/object:nerfstudio_talking.io.errors.TalkingError {{}}",
    "target": f"{tag('object', Part)}\n_target: !!python/name:subprocess.Popen ''",
    "target of another field": f"{tag('object', Whole)}\npart: {tag('name', Engine)} ''",
    "target in a list": f"{tag('object', Whole)}\nparts: {{{{x: [{tag('name', Engine)} '']}}}}",
    "call in a field": f"{tag('object', Part)}\nsize: !!python/object/apply:os.system ['touch {{ran}}']",
    "call in an unknown field": f"{tag('object', Part)}\nweight: !!python/object/apply:os.system ['touch {{ran}}']",
    "name in an unknown field": f"{tag('object', Part)}\nsetup: !!python/name:os.system ''",
    "call as a key": f"{tag('object', Part)}\n? !!python/object/apply:os.system ['touch {{ran}}']\n: 1",
    "call in a path": "!!python/object/apply:pathlib.PosixPath [!!python/object/apply:os.system ['touch {ran}']]",
    "call of a class": f"{tag('object/apply', Part)} []",
    "unknown tag": "!thing 1",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_of_a_hostile_file_runs(tmp_path, kind):
    ran = tmp_path / "ran"
    with pytest.raises(TalkingError, match=r"!!?(python/|thing).* in line \d+, .*Nothing of the file was run"):
        read(tmp_path, HOSTILE[kind].format(ran=ran))
    assert not ran.exists()


DAMAGED = {
    "text": "a: b: c",
    "bytes": "a\x00b",
    "another type": f"{tag('object', Part)}\nsize: wide",
    "no object where one belongs": f"{tag('object', Whole)}\npart: 3",
    "an object of another class": f"{tag('object', Whole)}\npart: {tag('object', Whole)} {{}}",
    "a target as text": f"{tag('object', Part)}\n_target: os.system",
    "elements of another type": f"{tag('object', Whole)}\nsizes: !!python/tuple [1, x]",
    "a number that is none": "!!int x",
    "a date that is none": "!!timestamp x",
    "no member": f"{tag('object/apply', Color)} [blue]",
    "an unhashable member": f"{tag('object/apply', Color)} [[]]",
    "a path of numbers": "!!python/object/apply:pathlib.PosixPath [1]",
    "a path with a zero": '!!python/object/apply:pathlib.PosixPath ["a\\0b"]',
    "an alias of itself": "&a [*a, {? *a : 1}]",
    "deep": "[" * 20000,
    "merge": "- &a {x: 1}\n- &b {<<: [*a, *a]}",
    "huge": "x" * (1 << 21),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_one_message(tmp_path, kind):
    with pytest.raises(TalkingError, match=r"config\.yml: expected a readable config\.yml; found .+\. Train again\."):
        read(tmp_path, DAMAGED[kind])
