"""`ns-talking render`: nerfstudio's camera-path renderer, with the clip's audio."""

from __future__ import annotations

import json
from dataclasses import dataclass

from nerfstudio.scripts.render import RenderCameraPath

from nerfstudio_talking.dataset_io.validation import load_any_sequence
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError


@dataclass
class Render(RenderCameraPath):
    """Render a camera path (`ns-talking path`) and put the clip's audio under it."""

    def main(self) -> None:
        """Render silently beside the target, then join image and audio."""
        from nerfstudio_talking.inference.checkpoints import ensure_ffmpeg, read_run
        from nerfstudio_talking.media.reading import read_audio
        from nerfstudio_talking.media.writing import mux_audio

        if not self.camera_path_filename.is_file():
            raise TalkingError(
                self.camera_path_filename,
                expected="a camera path",
                found="no such file",
                hint="Write one with `ns-talking path --data DIR`.",
            )
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
        self.output_path = target.with_name(target.stem + ".silent.mp4")
        super().main()
        begin = round(float(path["camera_path"][0].get("render_time") or 0.0) * (track.num_frames - 1)) / track.fps
        samples = read_audio(track.audio_path, start=begin, duration=float(path["seconds"]))
        mux_audio(self.output_path, samples, 16000, target)
        self.output_path.unlink()
        CONSOLE.print(f"[green]Wrote {target}, with audio from second {begin:.2f} of the clip.")
