"""`ns-talking render`: nerfstudio's camera-path renderer, with the audio of the sequence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.files import require_writable


@dataclass
class Render:
    """Render a camera path (`ns-talking path`) as a video with the audio of the frames that it shows.

    The options are those of `ns-render camera-path` that concern a video.
    """

    load_config: Path
    """The config.yml of the trained portrait."""
    camera_path_filename: Path = Path("camera_path.json")
    """The camera path to render, a JSON file."""
    output_path: Path = Path("renders/output.mp4")
    """The video to write."""
    rendered_output_names: list[str] = field(default_factory=lambda: ["rgb"])
    """The model outputs to show side by side, such as rgb, depth, parsing."""
    downscale_factor: float = 1.0
    """The image size of the camera path is divided by this factor."""
    eval_num_rays_per_chunk: int | None = None
    """Number of rays rendered at a time; the value of config.yml where not given."""
    depth_near_plane: float | None = None
    """Depth in metres at the near end of the colour map; the smallest depth of the frame where not given."""
    depth_far_plane: float | None = None
    """Depth in metres at the far end of the colour map; the largest depth of the frame where not given."""
    data: Path | None = None
    """The portrait's dataset folder, where it is no longer the one of its training."""

    def main(self) -> None:
        """Render beside the target; the portrait's pipeline adds the audio."""
        import os

        from nerfstudio_talking.inference.checkpoints import ensure_ffmpeg, latest_checkpoint
        from nerfstudio_talking.inference.render_clip import read_camera_path
        from nerfstudio_talking.media.writing import container_format

        target = self.output_path if self.output_path.suffix else self.output_path.with_suffix(".mp4")
        container_format(target)
        read_camera_path(self.camera_path_filename)
        latest_checkpoint(self.load_config)
        require_writable(target)
        ensure_ffmpeg()
        unfinished = target.with_name(f"{target.stem}.unfinished{target.suffix}")
        try:
            self._render(unfinished)
            os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
        CONSOLE.print(f"[green]Wrote {escape(str(target))}.", soft_wrap=True)

    def _render(self, output: Path) -> None:
        from nerfstudio.scripts.render import RenderCameraPath  # imports every method of nerfstudio

        from nerfstudio_talking.inference.checkpoints import located_config

        options = {name: value for name, value in vars(self).items() if name != "data"}
        with located_config(self.load_config, self.data) as config:
            RenderCameraPath(**{**options, "load_config": config, "output_path": output}).main()
