"""What nerfstudio sees of the package, and in which order it may be imported."""

import ast
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import nerfstudio_talking

ROOT = Path(__file__).parents[1]
MODULES = (
    "nerfstudio.data.datamanagers.base_datamanager",
    "nerfstudio_talking.dataparsers.talking_portrait",
    "nerfstudio_talking.dataparsers.ad_nerf",
    pytest.param("nerfstudio.configs.method_configs", marks=pytest.mark.slow),
    pytest.param("nerfstudio_talking.method_configs.talking_portrait", marks=pytest.mark.slow),
    "nerfstudio_talking.cli.main",
)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported_first(module):
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, capture_output=True, text=True)


def test_package_imports_little():
    code = "import sys, nerfstudio_talking; assert not {'nerfstudio', 'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", nerfstudio_talking.__all__)
def test_public_name_is_loaded_when_it_is_used(name):
    module = nerfstudio_talking._MODULES[name]
    if module == "nerfstudio_talking.inference.driver" and find_spec(module) is None:
        pytest.skip("the driver is not there yet")
    assert name in dir(nerfstudio_talking)
    value = getattr(nerfstudio_talking, name)
    assert value is getattr(import_module(module), name)
    assert value.__module__ == module  # where it is defined, not where it is imported


def test_public_names_are_those_that_type_checkers_see():
    tree = ast.parse(Path(nerfstudio_talking.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == nerfstudio_talking._MODULES
    assert set(nerfstudio_talking.__all__) == seen.keys()


def test_unknown_names_are_no_attributes():
    assert not hasattr(nerfstudio_talking, "process_videos")
    with pytest.raises(ImportError, match="process_videos"):
        exec("from nerfstudio_talking import process_videos", {})


@pytest.mark.slow
def test_training_needs_no_mediapipe_and_no_open3d():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('mediapipe', 'open3d')));"
        "import nerfstudio_talking.method_configs.talking_portrait, nerfstudio_talking.inference.checkpoints"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_methods_and_dataparsers_are_registered():
    from nerfstudio.configs.dataparser_configs import all_dataparsers
    from nerfstudio.configs.method_configs import all_methods

    for name in ("talking-portrait", "talking-portrait-small"):
        assert all_methods[name].method_name == name
    assert {"talking-portrait-data", "ad-nerf-data"} <= all_dataparsers.keys()


def test_every_subpackage_is_packaged():
    folders = {p.parent for p in (ROOT / "nerfstudio_talking").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_unknown_input_ends_with_one_message():
    program = Path(sys.executable).with_name("ns-talking")
    result = subprocess.run([program, "check", "/no/such/folder"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "no such folder" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
