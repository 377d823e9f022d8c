"""What nerfstudio sees of the package, and in which order it may be imported."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_package_imports_no_nerfstudio():
    code = "import sys, nerfstudio_talking; assert not any(m.startswith('nerfstudio.') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_training_needs_no_mediapipe_and_no_open3d():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('mediapipe', 'open3d')));"
        "import nerfstudio_talking.method_configs.talking_portrait, nerfstudio_talking.cli.drive"
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
