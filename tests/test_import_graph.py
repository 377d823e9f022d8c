"""The order of the package's rooms, and the sizes of its files and folders."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.paths import ROOT

PACKAGE = ROOT / "nerfstudio_talking"

LAYERS = (
    ("io",),
    ("cameras",),
    ("media",),
    ("provenance",),
    ("audio",),
    ("face",),
    ("dataset_io",),
    ("motion", "metrics", "mesh_rendering"),
    ("refiner", "reports"),
    ("process",),
    ("field_components", "splatting"),
    ("fields",),
    ("model_components",),
    ("models",),
    ("baking",),
    ("inference",),
    ("viewer",),
    ("serving",),
    ("engine", "dataparsers", "data"),
    ("pipelines",),
    ("method_configs",),
    ("batch",),
    ("cli",),
)
"""From low to high. A module imports from its own room and from rooms of lower layers, never from a higher layer nor
from another room of its own. So there is no circle between rooms."""

HIGHEST_WITHOUT_NERFSTUDIO = "process"
"""The rooms up to this layer work without nerfstudio; the bodies of `to_nerfstudio` are excepted."""

KNOWN_CLIMBS: set[tuple[str, str]] = set()
"""Imports (importing module, imported module) that break the order today. An entry that is needed no more fails the
test: the set shrinks and never grows."""

KNOWN_NERFSTUDIO: set[tuple[str, str]] = set()
"""Modules of rooms without nerfstudio that import it today, and what they import."""

MAX_LINES, MAX_FILES = 400, 12
KNOWN_LONG: set[str] = set()
"""Files that are longer today."""
KNOWN_FULL: set[str] = set()
"""Folders with more modules today."""


def test_every_room_has_a_layer():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.rglob("*.py"))}
    assert rooms - {room for layer in LAYERS for room in layer} == set()


def test_no_import_climbs():
    level = {room: i for i, layer in enumerate(LAYERS) for room in layer}
    climbs = {
        (module, imported)
        for module, imported in internal_imports()
        if level[room_of(module)] <= level[room_of(imported)]
    }
    assert climbs - KNOWN_CLIMBS == set(), "imports that climb"
    assert KNOWN_CLIMBS - climbs == set(), "no longer needed in KNOWN_CLIMBS"


def test_no_circle_between_modules():
    """Within a room, too. Repeatedly take away the modules that import no other: what is left depends on a circle."""
    graph: dict[str, set[str]] = {}
    for module, imported in all_imports():
        others = graph.setdefault(module, set())
        # the package's own __init__ loads its public names when they are asked for
        if imported.startswith("nerfstudio_talking.") and imported != module and (module, imported) not in KNOWN_CLIMBS:
            others.add(imported)
            graph.setdefault(imported, set())
    while free := {module for module, others in graph.items() if not others}:
        graph = {module: others - free for module, others in graph.items() if module not in free}
    assert graph == {}


def test_pure_rooms_import_no_nerfstudio():
    last = next(i for i, layer in enumerate(LAYERS) if HIGHEST_WITHOUT_NERFSTUDIO in layer)
    pure = {room for layer in LAYERS[: last + 1] for room in layer}
    found = {
        (module, imported)
        for module, imported in all_imports(executed=True)
        if room_of(module) in pure and imported.split(".")[0] == "nerfstudio"
    }
    assert found - KNOWN_NERFSTUDIO == set(), "imports of nerfstudio"
    assert KNOWN_NERFSTUDIO - found == set(), "no longer needed in KNOWN_NERFSTUDIO"


@pytest.mark.parametrize("folder", ["nerfstudio_talking", "scripts", "tests"])
def test_files_stay_short(folder):
    files = (path for path in (ROOT / folder).rglob("*.py") if len(path.read_text().splitlines()) > MAX_LINES)
    long = {path.relative_to(ROOT).as_posix() for path in files}
    known = {name for name in KNOWN_LONG if name.split("/")[0] == folder}
    assert long - known == set(), f"files of more than {MAX_LINES} lines"
    assert known - long == set(), "no longer needed in KNOWN_LONG"


@pytest.mark.parametrize("folder", ["nerfstudio_talking", "scripts"])
def test_folders_stay_small(folder):
    sizes = Counter(path.parent for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py")
    full = {path.relative_to(ROOT).as_posix() for path, size in sizes.items() if size > MAX_FILES}
    known = {name for name in KNOWN_FULL if name.split("/")[0] == folder}
    assert full - known == set(), f"folders of more than {MAX_FILES} modules"
    assert known - full == set(), "no longer needed in KNOWN_FULL"


def internal_imports() -> Iterator[tuple[str, str]]:
    """Pairs (importing module, imported module) between rooms of the package, the package's own `__init__` left out."""
    for module, imported in all_imports():
        if imported.startswith("nerfstudio_talking.") and room_of(module) and room_of(module) != room_of(imported):
            yield module, imported


def room_of(module: str) -> str:
    """`io` of `nerfstudio_talking.io.files`; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def all_imports(executed: bool = False) -> Iterator[tuple[str, str]]:
    """Every import of the package's files, wherever in a file it stands: in functions and for type checkers, too.

    Args:
        executed: leave out what type checkers alone read, and the bodies of `to_nerfstudio`.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text())
        yield from ((module, imported) for imported in imports_of(tree, module, path, executed))


def imports_of(tree: ast.AST, module: str, path: Path, executed: bool) -> Iterator[str]:
    """Names of the modules that the statements below a node import."""
    for node in ast.iter_child_nodes(tree):
        if executed and isinstance(node, ast.FunctionDef) and node.name == "to_nerfstudio":
            continue
        if executed and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from targets(node, module, path)
        else:
            yield from imports_of(node, module, path, executed)


def targets(node: ast.ImportFrom, module: str, path: Path) -> Iterator[str]:
    """Modules of a `from` import: the named module, or its submodules where the names are such."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])]) if node.level else ""
    base = base or node.module or ""
    for alias in node.names:
        folder = ROOT.joinpath(*base.split("."))
        submodule = (folder / f"{alias.name}.py").is_file() or (folder / alias.name / "__init__.py").is_file()
        yield f"{base}.{alias.name}" if submodule else base
