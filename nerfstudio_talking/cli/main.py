"""From a video to a dataset, and from a trained portrait to a video of it that speaks.

Training, evaluation and the viewer are nerfstudio's own commands: ns-train, ns-eval, ns-viewer, ns-render.
"""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Union

import tyro

from nerfstudio_talking.cli.bake import BakePortrait
from nerfstudio_talking.cli.batch import Batch
from nerfstudio_talking.cli.drive import Drive
from nerfstudio_talking.cli.export import Export
from nerfstudio_talking.cli.inspection.check import Check
from nerfstudio_talking.cli.inspection.doctor import Doctor
from nerfstudio_talking.cli.inspection.score import Score
from nerfstudio_talking.cli.inspection.verify import Verify
from nerfstudio_talking.cli.motion import Motion, MotionFinetune, MotionGenerate, MotionShow, MotionTrain
from nerfstudio_talking.cli.path import CameraPath
from nerfstudio_talking.cli.process import Process
from nerfstudio_talking.cli.render import Render
from nerfstudio_talking.cli.render_frames import RenderFrames
from nerfstudio_talking.cli.serve import Serve
from nerfstudio_talking.io.console import CONSOLE, print_error
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.third_party_warnings import silence_third_party_warnings

ISSUES = "https://github.com/nerfstudio-talking/nerfstudio-talking/issues"


@dataclass(frozen=True)
class Subcommand:
    """What the first word or two after `ns-talking` call."""

    options: type
    """The dataclass of its options; `main()` runs it. Its module imports nothing heavy before that."""
    example: str
    """A call of it, for the help text; without `ns-talking` in front."""

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring, for the list of subcommands."""
        return _paragraphs(self.options.__doc__)[0]

    @property
    def description(self) -> str:
        """The docstring and the example, for the subcommand's own help."""
        return f"{_wrapped(self.options.__doc__)}\n\nExample:\n  ns-talking {self.example}"


_CONFIG = "outputs/.../config.yml"
SUBCOMMANDS = {
    "process": Subcommand(Process, "process anna.mp4 --output data/anna --size 256"),
    "check": Subcommand(Check, "check data/anna"),
    "path": Subcommand(CameraPath, "path --data data/anna --output path.json"),
    "render": Subcommand(
        Render, f"render --load-config {_CONFIG} --camera-path-filename path.json --output-path anna.mp4"
    ),
    "render-frames": Subcommand(RenderFrames, f"render-frames --load-config {_CONFIG} --output frames"),
    "bake": Subcommand(BakePortrait, f"bake --load-config {_CONFIG}"),
    "drive": Subcommand(Drive, f"drive --load-config {_CONFIG} --audio voice.wav --output speaking.mp4"),
    "serve": Subcommand(Serve, f"serve --load-config {_CONFIG}"),
    "batch": Subcommand(Batch, "batch JOBS.yaml --output s3://bucket/portraits --dry-run True"),
    "export": Subcommand(Export, f"export --load-config {_CONFIG} --output face.ply --frame 100"),
    "motion": Subcommand(Motion, "motion train --data data/anna data/ben --output general.pt"),
    "motion train": Subcommand(MotionTrain, "motion train --data data/anna data/ben --output general.pt"),
    "motion finetune": Subcommand(
        MotionFinetune, "motion finetune --model general.pt --data data/anna --output anna.pt"
    ),
    "motion generate": Subcommand(
        MotionGenerate, "motion generate --model anna.pt --audio voice.wav --output motion.npz"
    ),
    "motion show": Subcommand(MotionShow, "motion show --model anna.pt --data data/anna --output face.ply"),
    "score": Subcommand(Score, "score speaking.mp4 anna.mp4 --report scores"),
    "verify": Subcommand(Verify, "verify speaking.mp4"),
    "doctor": Subcommand(Doctor, "doctor --try-parts False"),
}
"""By the words that call it."""


def parse(arguments: Sequence[str]) -> Any:
    """The options of the subcommand that the arguments name, an object with `main()`.

    Raises:
        SystemExit: help was asked for, or the arguments are wrong.
    """
    tyro.extras.set_accent_color("bright_yellow")
    flags = (tyro.conf.FlagConversionOff,)
    for num_words in (2, 1):
        name = " ".join(arguments[:num_words])
        if len(arguments) >= num_words and name in SUBCOMMANDS:
            options, rest, text = SUBCOMMANDS[name].options, arguments[num_words:], SUBCOMMANDS[name].description
            return tyro.cli(options, args=rest, prog=f"ns-talking {name}", description=text, config=flags)
    members = tuple(
        Annotated[subcommand.options, tyro.conf.subcommand(name=name, description=subcommand.summary)]
        for name, subcommand in SUBCOMMANDS.items()
        if " " not in name
    )
    command: Any = Union[members]  # noqa: UP007 - made of a tuple
    return tyro.cli(command, args=arguments, prog="ns-talking", description=_wrapped(__doc__), config=flags)


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text or "").split("\n\n")]


def _wrapped(text: str | None) -> str:
    """The text no wider than the terminal; a hanging indent, as tyro joins lines that begin with a letter."""
    fill = partial(textwrap.fill, width=min(shutil.get_terminal_size().columns, 120), subsequent_indent="  ")
    return "\n\n".join(map(fill, _paragraphs(text)))


def entrypoint(arguments: Sequence[str] | None = None) -> None:
    """Run a subcommand.

    Bad input ends with one message and exit code 1, Ctrl-C with a line and exit code 130. Any other exception is a
    bug of ours: it passes with its traceback.
    """
    silence_third_party_warnings()
    command = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        command.main()
    except TalkingError as error:
        print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        CONSOLE.print("[yellow]Interrupted.[/]")
        sys.exit(130)
    except Exception:
        CONSOLE.print(
            f"[bold red]This is a bug.[/] Please report it, with the traceback below: {ISSUES}", soft_wrap=True
        )
        raise


if __name__ == "__main__":
    entrypoint()
