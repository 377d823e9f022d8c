"""`ns-talking verify`: what a video says of its own origin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.errors import TalkingError


@dataclass
class Verify:
    """Look for the marks of synthetic media in a video; exit code 1 where there are none.

    It reads Content Credentials (with the extra 'provenance'), the container's comment, and the watermark. Other
    programs' videos have other watermarks: that nothing is found does not make a video genuine.
    """

    video: Annotated[Path, tyro.conf.Positional]
    """Path of the video."""
    frames: int = 500
    """Number of frames, from the first, in which the watermark is looked for."""

    def main(self) -> None:
        """Print what was found."""
        from rich.table import Table

        from nerfstudio_talking.provenance.inspection import inspect_video

        if self.frames < 1:
            raise TalkingError("--frames", expected="a positive number", found=str(self.frames), hint="Leave it out.")
        with get_progress("Looking", suffix="frames/s") as progress:
            task = progress.add_task("Looking", total=None)
            found = inspect_video(self.video, self.frames, lambda: progress.advance(task))
        table = Table(title=escape(str(self.video)), show_header=False)
        credentials = found.credentials
        if credentials is not None:
            states = {
                "Trusted": "hold, signed by a trusted certificate",
                "Valid": "hold; the certificate is on no list of trusted ones",
            }
            table.add_row("content credentials", states.get(credentials.state, "do not hold: the file was changed"))
            table.add_row("signed by", escape(credentials.signer or "nobody that they name"))
            table.add_row("source", escape(credentials.source or "not said"))
            for name, value in (credentials.origin or {}).items():
                table.add_row(escape(str(name)), escape(str(value)))
        elif found.credentials_were_read:
            table.add_row("content credentials", "none")
        else:
            table.add_row("content credentials", "not read: pip install 'nerfstudio-talking\\[provenance]'")
        table.add_row("comment", "says that it is synthetic" if found.has_tag else "says nothing")
        if found.watermark is None:
            table.add_row("watermark", "not looked for: the frames are too small")
        else:
            score = f"score {found.watermark:.1f}, in {found.num_frames} frames"
            table.add_row("watermark", f"{'found' if found.has_watermark else 'not found'} ({score})")
        CONSOLE.print(table)
        if not found.is_marked:
            raise TalkingError(
                self.video,
                expected="a mark of nerfstudio-talking",
                found="none that holds",
                hint="That does not make it genuine: other programs leave other marks, and marks can be removed.",
            )
