"""`ns-talking render`: nerfstudio's camera-path renderer, with the clip's audio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio.scripts.render import RenderCameraPath

from nerfstudio_talking.io.console import CONSOLE


@dataclass
class Render(RenderCameraPath):
    """Render a camera path (`ns-talking path`) and put the clip's audio under it."""

    def main(self) -> None:
        """Render silently beside the target, then join image and audio."""
        from nerfstudio_talking.inference.render_clip import render_with_audio

        target = self.output_path if self.output_path.suffix else self.output_path.with_suffix(".mp4")
        start = render_with_audio(self.load_config, self.camera_path_filename, target, self._render_silently)
        CONSOLE.print(f"[green]Wrote {target}, with audio from second {start:.2f} of the clip.")

    def _render_silently(self, output: Path) -> None:
        self.output_path = output
        super().main()
