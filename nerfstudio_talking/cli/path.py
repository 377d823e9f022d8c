"""`ns-talking path`: a camera path that plays a clip at its own speed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.files import make_folder, write_json


@dataclass
class CameraPath:
    """Write a camera path for `ns-render camera-path`: one entry per frame of the clip, at its exact frame rate."""

    data: Path
    """A dataset folder of either layout."""
    output: Path = Path("camera_path.json")
    """The JSON file to write."""
    frames: str | None = None
    """Range of frames A:B of the clip; all where not given."""

    def main(self) -> None:
        """Write the path."""
        from nerfstudio_talking.cameras.camera_path import camera_path
        from nerfstudio_talking.dataset_io.frame_range import parse_frame_range
        from nerfstudio_talking.dataset_io.validation import load_any_sequence

        track = load_any_sequence(self.data).track
        start, stop = parse_frame_range(self.frames, track.num_frames)
        path = camera_path(track.camera, track.camera_to_worlds[start:stop], track.times[start:stop], track.fps)
        make_folder(self.output.absolute().parent)
        write_json(path, self.output)
        count = len(path["camera_path"])
        CONSOLE.print(
            f"[green]Wrote {escape(str(self.output))}: {count} frames, {path['seconds']:.2f} s.", soft_wrap=True
        )
