"""Camera paths that nerfstudio's `ns-render camera-path` plays at the exact frame rate of a track."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nerfstudio_talking.dataset_io.track import TalkingTrack


def camera_path(track: TalkingTrack, start: int = 0, stop: int | None = None) -> dict[str, Any]:
    """One entry per frame of the track, each with its recording camera and its own time.

    The viewer's own paths give every key frame one time and would show a frozen mouth.
    """
    frames = range(track.num_frames)[start:stop]
    fov = math.degrees(2 * math.atan(track.height / (2 * track.focal)))
    entries = []
    for frame in frames:
        matrix = np.eye(4)
        matrix[:3] = track.camera_to_worlds[frame]
        entries.append(
            {
                "camera_to_world": matrix.flatten().tolist(),
                "fov": fov,
                "aspect": track.width / track.height,
                "render_time": float(track.times[frame]),
            }
        )
    return {
        "camera_type": "perspective",
        "render_height": track.height,
        "render_width": track.width,
        "fps": track.fps,
        "seconds": len(entries) / track.fps,
        "is_cycle": False,
        "smoothness_value": 0.0,
        "default_fov": fov,
        "default_time": 0.0,
        "keyframes": [],
        "camera_path": entries,
    }
