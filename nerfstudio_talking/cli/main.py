"""`ns-talking`: from a video to a dataset, and from a portrait to a speaking one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro
from rich.markup import escape

from nerfstudio_talking.cli.bake import BakePortrait
from nerfstudio_talking.cli.check import Check
from nerfstudio_talking.cli.drive import Drive
from nerfstudio_talking.cli.motion import Motion
from nerfstudio_talking.cli.path import CameraPath
from nerfstudio_talking.cli.process import Process
from nerfstudio_talking.cli.render import Render
from nerfstudio_talking.cli.render_frames import RenderFrames
from nerfstudio_talking.cli.score import Score
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

Command = tyro.conf.FlagConversionOff[
    Union[  # noqa: UP007 - tyro wants a Union of Annotated members
        Annotated[Process, tyro.conf.subcommand(name="process")],
        Annotated[Check, tyro.conf.subcommand(name="check")],
        Annotated[CameraPath, tyro.conf.subcommand(name="path")],
        Annotated[Render, tyro.conf.subcommand(name="render")],
        Annotated[RenderFrames, tyro.conf.subcommand(name="render-frames")],
        Annotated[BakePortrait, tyro.conf.subcommand(name="bake")],
        Annotated[Drive, tyro.conf.subcommand(name="drive")],
        Annotated[Motion, tyro.conf.subcommand(name="motion")],
        Annotated[Score, tyro.conf.subcommand(name="score")],
    ]
]


def entrypoint(arguments: Sequence[str] | None = None) -> None:
    """Run a subcommand; bad input ends with one message and exit code 1."""
    tyro.extras.set_accent_color("bright_yellow")
    command: Any = tyro.cli(Command, args=arguments, prog="ns-talking", description=__doc__)
    try:
        command.main()
    except TalkingError as error:
        CONSOLE.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    entrypoint()
