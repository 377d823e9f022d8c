"""Camera paths of nerfstudio's renderer, and the audio of the frames that they show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from nerfstudio_talking.audio.frame_audio import audio_of_frames, why_silent
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.inference.audio_input import RATE
from nerfstudio_talking.io.errors import TalkingError

_HINT = "Write one with `ns-talking path --data DIR`, or save one in the viewer."


def audio_of_times(
    track: TalkingTrack, times: Float[np.ndarray, " frames"] | None, fps: float
) -> tuple[Float[np.ndarray, " samples"] | None, str | None]:
    """The audio of a video whose frames show given times of a clip.

    Args:
        track: the portrait's own track.
        times: time of each frame, in [0, 1]; None where the cameras have none.
        fps: frames per second of the video.

    Returns:
        Samples at `RATE` and None; or None and why the video is silent.

    Raises:
        TalkingError: the clip's audio cannot be read.
    """
    from nerfstudio_talking.media.reading import read_audio

    starts, reason = frame_starts(track, times, fps)
    if starts is None or track.audio_path is None:
        return None, reason
    return audio_of_frames(read_audio(track.audio_path, RATE), starts, fps, RATE), None


def read_camera_path(path: Path) -> dict[str, Any]:
    """A camera path as of `ns-talking path` or nerfstudio's viewer.

    Raises:
        TalkingError: no such file, or it holds something else.
    """
    if not path.is_file():
        raise TalkingError(path, expected="a camera path", found="no such file", hint=_HINT)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for name in ("camera_path", "seconds", "render_height", "render_width"):
            if name not in record:
                raise ValueError(f"no {name}")
        if not isinstance(record["camera_path"], list) or not record["camera_path"]:
            raise ValueError("no cameras in it")
        if not all(0 < _number(record[name]) < 1e5 for name in ("seconds", "render_height", "render_width")):
            raise ValueError("a length or a size that is not a positive number")
        if not all(isinstance(record[name], int) for name in ("render_height", "render_width")):
            raise ValueError("a size that is not a whole number")
        kind = record.get("camera_type", "perspective")
        if not isinstance(kind, str):
            raise ValueError(f"a camera_type of {kind!r}")
        wide = kind.lower() not in ("equirectangular", "omnidirectional", "vr180")
        for index, camera in enumerate(record["camera_path"]):
            matrix = np.asarray(camera["camera_to_world"])
            if matrix.dtype.kind not in "fi" or matrix.size != 16 or not np.isfinite(matrix).all():
                raise ValueError(f"camera {index} has no camera_to_world of 16 numbers")
            if wide and not 0 < _number(camera["fov"]) < 180:
                raise ValueError(f"camera {index} has a field of view of {camera['fov']}")
            if "render_time" in camera and not np.isfinite(_number(camera["render_time"])):
                raise ValueError(f"camera {index} has a render_time of {camera['render_time']}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise TalkingError(path, expected="a camera path", found=found, hint=_HINT) from error
    return record


def _number(value: Any) -> float:
    """The value, which is a number as JSON has them, and no text that looks like one; NaN where it is another thing."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def frame_rate(path: dict[str, Any]) -> float:
    """Frames per second at which nerfstudio's renderer writes a camera path."""
    return len(path["camera_path"]) / float(path["seconds"])


def path_times(path: dict[str, Any]) -> Float64[np.ndarray, " frames"] | None:
    """Time of each camera of a path, from `read_camera_path`; None where one has none: nerfstudio then renders all of
    them without."""
    times = [camera.get("render_time") for camera in path["camera_path"]]
    return None if any(time is None for time in times) else np.array(times, dtype=np.float64)


def frame_starts(
    track: TalkingTrack, times: Float[np.ndarray, " frames"] | None, fps: float
) -> tuple[Float64[np.ndarray, " frames"] | None, str | None]:
    """Second of the clip's audio at which the audio of each frame of a video starts.

    Args:
        track: the portrait's own track.
        times: time of each frame, in [0, 1]; None where the cameras have none.
        fps: frames per second of the video.

    Returns:
        The seconds and None; or None and why the video is silent.
    """
    if track.audio_path is None:
        return None, "the clip has no audio"
    if times is None:
        return None, "not all cameras have a time (render_time): it shows the first frame throughout"
    positions = np.clip(np.asarray(times, dtype=np.float64), 0.0, 1.0) * max(track.num_frames - 1, 1)
    # times have been through single precision in most paths
    whole = np.minimum(np.round(positions), track.num_frames - 1).astype(np.int64)
    reason = why_silent(positions / track.fps, fps)
    if reason is not None:
        return None, reason
    return track.audio_starts[whole] + (positions - whole) / track.fps, None
