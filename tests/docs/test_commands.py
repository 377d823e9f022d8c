"""Every command line of README and docs parses: the command exists, and so does each of its options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.command_lines import CommandLine, command_lines
from helpers.commands import parse_errors
from helpers.paths import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))


def all_lines() -> list[CommandLine]:
    return [line for page in PAGES if "_build" not in page.parts for line in command_lines(page)]


def test_lines_of_commands_parse():
    # ns-export loads open3d, which not every machine can: pages only mention it
    lines = [line for line in all_lines() if line.words[0].startswith("ns-") and line.words[0] != "ns-export"]
    scripts = [line for line in all_lines() if re.fullmatch(r"python3?", line.words[0])]
    calls = [{"words": list(line.words), "is_whole": line.is_whole} for line in lines]
    for line in scripts:
        if line.words[1].endswith(".py"):
            lines.append(line)
            calls.append({"words": list(line.words[1:]), "is_whole": line.is_whole})
    assert len(calls) > 80
    errors = parse_errors(calls, cwd=ROOT)
    wrong = [f"{line}\n{error}" for line, error in zip(lines, errors) if error is not None]
    assert not wrong, "\n\n".join(wrong)


def test_shell_scripts_exist():
    scripts = [
        (line, word)
        for line in all_lines()
        for word in line.words[:2]
        if word.endswith(".sh") and line.words[0] in ("bash", word)
    ]
    assert {word for _, word in scripts} >= {"scripts/demo.sh", "scripts/test.sh"}
    for line, word in scripts:
        assert (ROOT / word).is_file(), str(line)
        options = [option for option in line.words if option.startswith("--")]
        assert not options or word == "scripts/test.sh", f"{line}: the script takes no options"


def test_extras_exist():
    section = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    named = [
        (line, extra)
        for line in all_lines()
        for word in line.words
        for extras_of_word in re.findall(r"(?:nerfstudio-talking|\.|\.whl)\[([\w,-]+)\]", word)
        for extra in extras_of_word.split(",")
    ]
    assert named
    for line, extra in named:
        assert extra in extras, str(line)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "```bash\nns-eval --load-config a \\\n  --output-path b   # scores\n```\n",
            [("ns-eval", "--load-config", "a", "--output-path", "b")],
        ),
        ("```bash\nMETHOD=x bash scripts/demo.sh && ns-viewer\n```\n", [("bash", "scripts/demo.sh"), ("ns-viewer",)]),
        (
            "text\n\n    ns-train a\n    other\n\n    ns-eval\n\nend `ns-render dataset`\n",
            [("ns-train", "a"), ("ns-eval",), ("ns-render", "dataset")],
        ),
        ("```python\nns-train\n```\n", []),
    ],
)
def test_lines_are_found(tmp_path: Path, text: str, words: list[tuple[str, ...]]):
    (tmp_path / "page.md").write_text(text)
    assert [line.words for line in command_lines(tmp_path / "page.md")] == words


def test_what_does_not_parse_is_found():
    calls = [
        ("ns-talking drive --load-config c --audio a --output o", True, None),
        ("ns-talking drive --load-config c --audio a --output o --no-such-option 1", True, "no-such-option"),
        ("ns-talking drive --no-such-option", False, "no option"),
        ("ns-talking drive --audio V", False, None),
        ("ns-train splat-portrait --data d --pipeline.model.no-such-option 1", True, "no-such-option"),
        ("ns-train no-such-method", True, "no-such-method"),
        ("ns-none", True, "no command"),
        ("scripts/benchmarks/bench.py --quick", True, None),
    ]
    errors = parse_errors([{"words": text.split(), "is_whole": whole} for text, whole, _ in calls], cwd=ROOT)
    for (text, _, expected), error in zip(calls, errors):
        assert (error is None) if expected is None else (error is not None and expected in error), (text, error)
