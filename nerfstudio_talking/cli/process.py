"""`ns-talking process`: from a video to a dataset folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from nerfstudio_talking.process.config import ProcessConfig


@dataclass
class Process(ProcessConfig):
    """Make a dataset folder of a video of one person speaking. An interrupted run resumes when it is run again."""

    video: tyro.conf.Positional[Path]
    """Path of the video, of one person speaking, with audio; any container and codec that FFmpeg's libraries read."""

    def main(self) -> None:
        """Process the video."""
        from nerfstudio_talking.process.run import process_video

        process_video(self)
