"""Camera paths for nerfstudio's `ns-render camera-path`, at an exact frame rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfstudio_talking.cameras.pinhole import PinholeCamera


def camera_path(
    camera: PinholeCamera,
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    times: Float[np.ndarray, " frames"],
    fps: float,
) -> dict[str, Any]:
    """A camera path with one entry per frame, each with its pose and its own time.

    The viewer's own paths give all key frames the same time, and the mouth would not move.

    Args:
        camera: the recording camera.
        camera_to_worlds: pose of each frame.
        times: time of each frame, in [0, 1].
        fps: frames per second.
    """
    fov = math.degrees(camera.fov_y)
    entries = [
        {
            "camera_to_world": np.vstack([pose, (0.0, 0.0, 0.0, 1.0)]).flatten().tolist(),
            "fov": fov,
            "aspect": camera.width / camera.height,
            "render_time": float(time),
        }
        for pose, time in zip(camera_to_worlds, times)
    ]
    return {
        "camera_type": "perspective",
        "render_height": camera.height,
        "render_width": camera.width,
        "fps": fps,
        "seconds": len(entries) / fps,
        "is_cycle": False,
        "smoothness_value": 0.0,
        "default_fov": fov,
        "default_time": 0.0,
        "keyframes": [],
        "camera_path": entries,
    }
