"""Options of `process_video`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nerfstudio_talking.io.errors import TalkingError


@dataclass
class ProcessConfig:
    """Options of `process_video`."""

    video: Path
    """Path of the video, of one person speaking, with audio; any container and codec that FFmpeg's libraries read."""
    output: Path
    """Path of the dataset folder to write."""
    size: int = 512
    """Length of the longer side of the dataset's images, pixels."""
    crop: str = "none"
    """Part of the image to use: 'none' uses all of it, 'face' a square about the face, 'X,Y,W,H' a box in pixels."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees by which the video is turned clockwise, for one that lies on its side and does not say so."""
    fps: float | None = None
    """Frame rate of the dataset, frames per second; the video's own rate, up to 60, where it is not given."""
    frames: str | None = None
    """Range of frames A:B to use: from A up to, not including, B, counted at the dataset's frame rate."""
    audio_model: str = "auto"
    """Audio features: 'auto' (the best installed), 'logmel', 'mfcc', 'whisper', another speech model, or an array."""
    audio_offset: str = "0"
    """Number of frames by which the audio is late (negative: early), which is corrected; 'auto' estimates it."""
    face_landmarker: Path | None = None
    """Path of MediaPipe's face_landmarker.task, which adds the 52 blendshapes as expression."""
    parsing: Path | None = None
    """Folder of ready parsing maps (AD-NeRF's colours or BiSeNet's ids), one per frame, in the order of their names."""
    refine_poses: bool = True
    """Whether to refine the landmark-based head poses by the images; portraits that train on them are sharper."""
    overwrite: bool = False
    """Whether a finished dataset of another video in the output folder is replaced without asking."""
    report: bool = True
    """Whether to write report.html, a page that shows the dataset for inspection."""

    def validate(self) -> None:
        """Check the options.

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
                    hint="A positive number means that the audio is late.",
                ) from error
