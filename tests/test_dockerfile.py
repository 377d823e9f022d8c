"""The Dockerfile, as far as it can be checked without Docker."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from helpers.paths import ROOT

_KNOWN = {"ARG", "CMD", "COPY", "ENV", "FROM", "RUN", "SHELL", "USER", "WORKDIR"}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_instructions_are_known():
    assert {name for name, _ in instructions()} <= _KNOWN


def test_every_device_has_its_base():
    stages = [text.split(" AS ")[1] for name, text in instructions() if name == "FROM"]
    assert {"base-cpu", "base-cuda", "final"} == set(stages)
    before_first_stage = [text for name, text in instructions()[:3] if name == "ARG"]
    assert "DEVICE=cpu" in before_first_stage, "only such an argument is seen by FROM"


def test_what_is_copied_exists_and_is_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [source for name, text in instructions() if name == "COPY" for source in text.split()[:-1]]
    assert {"pyproject.toml", "nerfstudio_talking"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, f"{source} does not reach the builder"
    # what the build reads: the readme and the licence are parts of the wheel's metadata
    assert {"README.md", "LICENSE"} <= set(copied)
    assert ignored[0] == "*" and not {"!tests", "!docs"} & set(ignored)


def test_pip_takes_pinned_versions_and_extras_that_exist():
    calls = [shlex.split(part) for name, text in instructions() if name == "RUN" for part in text.split("&&")]
    installs = [call for call in calls if call[:2] == ["pip", "install"]]
    assert len(installs) == 2
    assert installs[1][installs[1].index("-c") :][:2] == ["-c", "constraints.txt"]
    (extras,) = re.findall(r"\[(.*)\]", installs[1][-1])
    section = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]
    assert set(extras.split(",")) <= set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))


@pytest.mark.parametrize("index", ["", "--index-url https://example.org/cpu"])
def test_torch_is_taken_in_the_pinned_version(index):
    """The command itself, with an echo for pip."""
    (text,) = (text for name, text in instructions() if name == "RUN" and "TORCH_INDEX" in text)
    script = f"pip() {{ echo \"$@\"; }}; TORCH_INDEX='{index}'; {text}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    pins = re.findall(r"^(?:torch|torchvision)==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert done.stdout.split() == ["install", "--no-cache-dir", *index.split(), *pins]
    assert len(pins) == 2
