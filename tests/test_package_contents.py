"""What the wheel and the source distribution hold."""

from __future__ import annotations

import configparser
import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.paths import ROOT

_BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]
build_meta.build_wheel(folder)
build_meta.build_sdist(folder)
"""
_LEFT_OUT = (".git", ".venv", "build", "dist", "outputs", "*.egg-info", "__pycache__", ".*_cache")
INFO = {"LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"}
PAGE = ("index.html", "app.js", "connection.js", "style.css")
DATA = {
    "nerfstudio_talking/py.typed",
    "nerfstudio_talking/face/canonical_face.npz",
    *(f"nerfstudio_talking/audio/mouth_prior/{name}.npz" for name in ("logmel", "whisper-base")),
    *(f"nerfstudio_talking/serving/static/{name}" for name in PAGE),
}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, built from a copy of the tree, without a network."""
    if not (find_spec("wheel") or find_spec("setuptools.command.bdist_wheel")):
        pytest.skip("needs the package wheel, or setuptools from 70.1 on")
    tree, folder = tmp_path_factory.mktemp("tree") / "copy", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, str(folder)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-3000:]
    return folder


def package_files() -> set[str]:
    files = (path.relative_to(ROOT).as_posix() for path in (ROOT / "nerfstudio_talking").rglob("*.py"))
    return set(files) | DATA


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(distributions):
    (path,) = distributions.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(path).namelist())
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - info == package_files()
    assert any(name.endswith("LICENSE") for name in info)
    assert {name.split("/")[-1] for name in info} == INFO
    assert path.stat().st_size < 4e6


@pytest.mark.slow
def test_the_wheel_says_what_pyproject_says(distributions):
    (path,) = distributions.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
        texts = {name: wheel.read(f"{folder}/{name}").decode() for name in ("entry_points.txt", "METADATA")}
        modules = set(wheel.namelist())
    points = configparser.ConfigParser(delimiters="=")
    points.read_string(texts["entry_points.txt"])
    assert set(points.sections()) == {"console_scripts", "nerfstudio.method_configs", "nerfstudio.dataparser_configs"}
    for section in points.sections():
        for name, target in points[section].items():
            assert f"{target.split(':')[0].replace('.', '/')}.py" in modules, name
    metadata = email.message_from_string(texts["METADATA"])
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = "{metadata["Requires-Python"]}"' in project.replace(">=3.10,<3.12", "<3.12,>=3.10")
    extras = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    assert set(metadata.get_all("Provides-Extra", [])) == set(re.findall(r"^(\w+) = \[", extras, re.MULTILINE))
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


@pytest.mark.slow
def test_the_source_distribution_holds_what_it_takes_to_build(distributions):
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.split("/", 1)[1] for member in archive.getmembers() if not member.isdir()}
    made = {name for name in names if name.startswith("nerfstudio_talking.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    # the links at the root would be a second copy of two folders
    assert names - made == package_files() | {"pyproject.toml", "README.md", "LICENSE"}
