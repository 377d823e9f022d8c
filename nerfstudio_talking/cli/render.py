"""`ns-talking render`: nerfstudio's camera-path renderer, with the audio of the sequence."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError


@dataclass
class Render:
    """Render a camera path (`ns-talking path`) as a video with the audio of the recording.

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

    def main(self) -> None:
        """Render a silent video beside the target, then join frames and audio."""
        if not self.camera_path_filename.is_file():
            raise TalkingError(
                self.camera_path_filename,
                expected="a camera path",
                found="no such file",
                hint="Write one with `ns-talking path --data DIR`.",
            )
        from nerfstudio.scripts.render import RenderCameraPath  # imports every method of nerfstudio

        from nerfstudio_talking.dataset_io.validation import load_any_sequence
        from nerfstudio_talking.inference.checkpoints import ensure_ffmpeg, read_run
        from nerfstudio_talking.media.reading import read_audio
        from nerfstudio_talking.media.writing import mux_audio

        path = json.loads(self.camera_path_filename.read_text(encoding="utf-8"))
        manager = read_run(self.load_config).pipeline.datamanager
        data = manager.data or manager.dataparser.data  # type: ignore[attr-defined]
        track = load_any_sequence(data).track
        if track.audio_path is None:
            raise TalkingError(
                self.load_config, expected="a clip with audio", found="none", hint="Use ns-render for a silent video."
            )
        ensure_ffmpeg()
        target = self.output_path if self.output_path.suffix else self.output_path.with_suffix(".mp4")
        silent = target.with_name(target.stem + ".silent.mp4")
        RenderCameraPath(**{**vars(self), "output_path": silent}).main()
        begin = round(float(path["camera_path"][0].get("render_time") or 0.0) * (track.num_frames - 1)) / track.fps
        samples = read_audio(track.audio_path, start=begin, duration=float(path["seconds"]))
        mux_audio(silent, samples, 16000, target)
        silent.unlink()
        CONSOLE.print(
            f"[green]Wrote {escape(str(target))}, with audio from second {begin:.2f} of the clip.", soft_wrap=True
        )
