"""Track the speakers' faces: the clips of sources.csv become landmarks, head poses and audio.

    python scripts/mouth_prior/track_speakers.py CLIPS OUTPUT

CLIPS holds the clips under the names of the column `clip` (any suffix, any subfolder). A clip that is tracked already
is left alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from speakers import read_sources

from nerfstudio_talking.face.head_pose.bundle_adjustment import bundle_adjust
from nerfstudio_talking.face.head_shape import mean_shape, rigid_points
from nerfstudio_talking.face.measurements import frames_seen
from nerfstudio_talking.face.tracking import FaceFollower
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import new_file
from nerfstudio_talking.media.images import shrink_image
from nerfstudio_talking.media.reading import probe_video, read_audio, read_frames

_SIDE = 480
"""Longer side of the images that are tracked, pixels."""


def track(video: Path, target: Path) -> None:
    """Landmarks, head poses and audio of one clip, written to a .npz file."""
    fps = float(probe_video(video).fps)
    landmarks, size = [], (0, 0)
    with FaceFollower() as follower:
        for frame in read_frames(video, fps):
            small = shrink_image(frame, _SIDE)
            size = (small.shape[1], small.shape[0])
            landmarks.append(follower.follow(small))
    points = np.array(landmarks)
    shape = mean_shape(points[frames_seen(points)].astype(np.float64))
    rigid = rigid_points(shape)
    poses = bundle_adjust(points[:, rigid, :2].astype(np.float64), shape[rigid], *size, fps)
    with new_file(target) as file:
        np.savez(
            file,
            landmarks=points,
            fps=fps,
            audio=read_audio(video),
            c2w=poses.camera_to_worlds,
            focal=poses.camera.focal,
            size=size,
        )


def main() -> None:
    """Track every clip that is not tracked yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of the clips")
    parser.add_argument("output", type=Path, help="folder of the results")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for source in read_sources():
        target = options.output / f"{source.clip}.npz"
        if target.is_file():
            continue
        video = next((path for path in options.clips.rglob(f"{source.clip}.*") if path.is_file()), None)
        if video is None:
            raise TalkingError(
                options.clips,
                expected=f"the clip '{source.clip}'",
                found="none",
                hint=f"Copy {source.file} of github.com/{source.repository} there under that name.",
            )
        track(video, target)
        CONSOLE.print(f"{source.clip}: tracked")


if __name__ == "__main__":
    main()
