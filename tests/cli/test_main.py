"""`ns-talking`: which subcommand runs, and how it ends."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from nerfstudio_talking.cli import main
from nerfstudio_talking.cli.motion import MotionTrain
from nerfstudio_talking.io.errors import TalkingError

AWKWARD = "/no/:b:/[red]/12 :smile: [/x].mp4"
"""A path that rich would take for emoji and markup."""


@dataclass
class Stop:
    """A subcommand that ends with an exception."""

    exception: ClassVar[BaseException]

    def main(self) -> None:
        """Raise it."""
        raise self.exception


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> type[Stop]:
    monkeypatch.setitem(main.SUBCOMMANDS, "stop", main.Subcommand(Stop, "stop"))
    return Stop


@pytest.mark.parametrize("name", sorted(main.SUBCOMMANDS))
def test_examples_can_be_called(name: str) -> None:
    example = main.SUBCOMMANDS[name].example
    options = main.parse(shlex.split(example))
    assert example.startswith(f"{name} ")
    assert type(options) is (MotionTrain if name == "motion" else main.SUBCOMMANDS[name].options)


def test_options_reach_the_subcommand() -> None:
    options = main.parse(["process", "a b.mp4", "--output", "o", "--report", "False", "--frames", "3:9"])
    assert (options.video, options.output, options.report, options.frames) == (Path("a b.mp4"), Path("o"), False, "3:9")


@pytest.mark.parametrize("arguments", [[], ["proces"], ["motion"], ["motion", "learn"], ["check"], ["check", "a", "b"]])
def test_wrong_arguments_end_with_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.entrypoint(arguments)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err


def test_bad_input_ends_with_one_message_and_exit_code_1(
    stop: type[Stop], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = TalkingError(AWKWARD, expected="a video [or two]", found=":warning:", hint="Look \\[again].")
    monkeypatch.setattr(stop, "exception", error, raising=False)
    with pytest.raises(SystemExit) as end:
        main.entrypoint(["stop"])
    assert end.value.code == 1
    assert capsys.readouterr().out == f"Error: {error}\n"


def test_interrupt_ends_with_a_line_and_exit_code_130(
    stop: type[Stop], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "exception", KeyboardInterrupt(), raising=False)
    with pytest.raises(SystemExit) as end:
        main.entrypoint(["stop"])
    assert end.value.code == 130
    assert capsys.readouterr().out == "Interrupted.\n"


@pytest.mark.parametrize("exception", [ZeroDivisionError("by 0"), OSError(28, "No space left")])
def test_bug_keeps_its_exception_and_names_the_issue_address(
    exception: Exception, stop: type[Stop], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "exception", exception, raising=False)
    with pytest.raises(type(exception)) as raised:
        main.entrypoint(["stop"])
    assert raised.value is exception
    assert main.ISSUES in capsys.readouterr().out


@pytest.mark.parametrize("code", [0, 3, "text"])
def test_exit_codes_pass(
    code: int | str, stop: type[Stop], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stop, "exception", SystemExit(code), raising=False)
    with pytest.raises(SystemExit) as end:
        main.entrypoint(["stop"])
    assert end.value.code == code
    assert capsys.readouterr().out == ""


def test_issue_address_is_that_of_the_project() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"{main.ISSUES.removesuffix("/issues")}"' in project
