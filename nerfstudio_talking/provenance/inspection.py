"""What a video says of its own origin: credentials, tags, watermark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE
from nerfstudio_talking.provenance.credentials import Credentials, credentials_exist, read_credentials
from nerfstudio_talking.provenance.watermark import CELLS, DETECTED, WatermarkDetector


@dataclass(frozen=True)
class Findings:
    """What was found in a video."""

    credentials: Credentials | None
    """Its Content Credentials; None where it has none, or c2pa-python is missing."""
    credentials_were_read: bool
    """Whether c2pa-python is installed."""
    has_tag: bool
    """Whether the container's comment says that it is synthetic."""
    watermark: float | None
    """Score of the watermark (see `WatermarkDetector`); None where the frames are too small for one."""
    num_frames: int
    """Number of frames that were looked at."""

    @property
    def has_watermark(self) -> bool:
        """Whether the score counts as a watermark."""
        return self.watermark is not None and self.watermark > DETECTED

    @property
    def is_marked(self) -> bool:
        """Whether anything says that the video is synthetic."""
        return self.has_tag or self.has_watermark or (self.credentials is not None and self.credentials.say_synthetic)


def inspect_video(path: Path, most_frames: int = 500, advance: Callable[[], object] | None = None) -> Findings:
    """Look for the marks that this package leaves in the videos it writes.

    Args:
        path: the video.
        most_frames: number of frames, from the first, in which a watermark is looked for.
        advance: called after each frame.

    Raises:
        TalkingError: the file cannot be read, or holds no video.
    """
    from nerfstudio_talking.media.decoding.opening import open_media
    from nerfstudio_talking.media.reading import read_frames

    detector, frames = WatermarkDetector(), 0
    for frame in read_frames(path):
        if min(frame.shape[:2]) >= CELLS:
            detector.add(frame)
        frames += 1
        if advance is not None:
            advance()
        if frames == most_frames:
            break
    with open_media(path) as container:
        comment = container.metadata.get("comment") or container.metadata.get("COMMENT") or ""
    return Findings(
        credentials=read_credentials(path) if credentials_exist() else None,
        credentials_were_read=credentials_exist(),
        has_tag=SYNTHETIC_NOTICE in comment,
        watermark=detector.score() if detector.num_frames else None,
        num_frames=frames,
    )
