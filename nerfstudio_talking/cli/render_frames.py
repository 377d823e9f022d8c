"""`ns-talking render-frames`: every frame of a sequence as its portrait renders it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE


@dataclass
class RenderFrames:
    """Render every frame of a portrait's sequence into a folder, which `ns-train memory-gan` takes as its input."""

    load_config: Path
    """The config.yml of the trained portrait."""
    output: Path
    """The folder for the frames; an interrupted rendering resumes in it."""
    data: Path | None = None
    """The portrait's dataset folder, where it is no longer the one of its training."""

    def main(self) -> None:
        """Render the frames that are missing."""
        from nerfstudio_talking.inference.render_frames import render_frames

        count = render_frames(self.load_config, self.output, self.data)
        output = escape(str(self.output))
        CONSOLE.print(f"[green]Wrote {output}: {count} frames.", soft_wrap=True)
        CONSOLE.print(f"Train a refiner on them with --pipeline.datamanager.rendered {output}", soft_wrap=True)
