"""Options of `process_video`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio_talking.io.errors import TalkingError


@dataclass
class ProcessConfig:
    """What `process_video` is told."""

    video: Path
    """The video: any container and codec that FFmpeg's libraries read, one person speaking, with audio."""
    output: Path
    """The dataset folder to write."""
    size: int = 512
    """Longer side of the images in pixels."""
    crop: str = "none"
    """'none' keeps the whole image, 'face' takes a square around the face, 'X,Y,W,H' a box in source pixels."""
    fps: float | None = None
    """Frames per second of the dataset; the video's own, up to 60, where not given."""
    frames: str | None = None
    """Range of frames A:B to use: from A up to, not including, B; counted at the dataset's frame rate."""
    audio_model: str = "logmel"
    """Audio features: 'logmel', 'mfcc', a speech model, or the path of a ready array with one row per frame."""
    audio_offset: str = "0"
    """Frames by which the audio is late in the video (negative: early); it is moved by that much. 'auto': estimated."""
    face_landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, for the 52 blendshapes as expression."""
    parsing: Path | None = None
    """Folder of parsing maps made elsewhere (AD-NeRF's colours or BiSeNet's ids), one per frame in name order."""
    report: bool = True
    """Write the sheet that a person looks at."""

    def validate(self) -> None:
        """Refuse options that cannot be.

        Raises:
            TalkingError: an option is out of range.
        """
        if not 64 <= self.size <= 4096:
            raise TalkingError(
                f"--size {self.size}", expected="64 to 4096 pixels", found=str(self.size), hint="512 is usual."
            )
        if self.fps is not None and not 1 <= self.fps <= 120:
            raise TalkingError(f"--fps {self.fps}", expected="1 to 120", found=str(self.fps), hint="25 is usual.")
        if self.audio_offset != "auto":
            try:
                int(self.audio_offset)
            except ValueError as error:
                raise TalkingError(
                    f"--audio-offset {self.audio_offset}",
                    expected="a whole number of frames or 'auto'",
                    found=self.audio_offset,
                    hint="A positive number says that the audio is late.",
                ) from error
