"""A camera path of nerfstudio's renderer, with the audio of the frames that it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from nerfstudio_talking.audio.frame_audio import audio_of_frames, why_silent
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.io.errors import TalkingError

_HINT = "Write one with `ns-talking path --data DIR`, or save one in the viewer."
RATE = 16000


def render_with_audio(load_config: Path, camera_path: Path, output: Path, render: Callable[[Path], None]) -> str | None:
    """Render silently beside the target, then join image and audio.

    Args:
        load_config: config.yml of the portrait.
        camera_path: JSON of `ns-talking path` or of the viewer, with a `render_time` per key frame.
        output: the video to write.
        render: renders the camera path silently into the file it is given.

    Returns:
        Why the video is silent; None where it has audio.

    Raises:
        TalkingError: there is no camera path, or the video cannot be written.
    """
    from nerfstudio_talking.inference.checkpoints import ensure_ffmpeg, run_sequence
    from nerfstudio_talking.media.reading import read_audio
    from nerfstudio_talking.media.writing import mux_audio

    path = read_camera_path(camera_path)
    track = run_sequence(load_config).track
    starts, reason = camera_path_starts(track, path)
    samples = None
    if starts is not None and track.audio_path is not None:
        samples = audio_of_frames(read_audio(track.audio_path, RATE), starts, frame_rate(path), RATE)
    ensure_ffmpeg()
    silent = output.with_name(output.stem + ".silent.mp4")
    try:
        render(silent)
        mux_audio(silent, samples, RATE, output)
    finally:
        silent.unlink(missing_ok=True)
    return reason


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
        if not all(0 < float(record[name]) < 1e5 for name in ("seconds", "render_height", "render_width")):
            raise ValueError("a length or a size that is not a positive number")
        wide = record.get("camera_type", "perspective") in ("perspective", "fisheye")
        for index, camera in enumerate(record["camera_path"]):
            matrix = np.asarray(camera["camera_to_world"], dtype=np.float64)
            if matrix.size != 16 or not np.isfinite(matrix).all():
                raise ValueError(f"camera {index} has no camera_to_world of 16 numbers")
            if wide and not 0 < float(camera["fov"]) < 180:
                raise ValueError(f"camera {index} has a field of view of {camera['fov']}")
            if not np.isfinite(float(camera.get("render_time") or 0.0)):
                raise ValueError(f"camera {index} has a render_time of {camera['render_time']}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise TalkingError(path, expected="a camera path", found=found, hint=_HINT) from error
    return record


def frame_rate(path: dict[str, Any]) -> float:
    """Frames per second at which nerfstudio's renderer writes a camera path."""
    return len(path["camera_path"]) / float(path["seconds"])


def camera_path_starts(
    track: TalkingTrack, path: dict[str, Any]
) -> tuple[Float64[np.ndarray, " frames"] | None, str | None]:
    """Second of the clip's audio at which the audio of each frame of a camera path starts.

    Args:
        track: the portrait's own track.
        path: from `read_camera_path`.

    Returns:
        The seconds and None; or None and why the video is silent.
    """
    if track.audio_path is None:
        return None, "the clip has no audio"
    times = [camera.get("render_time") for camera in path["camera_path"]]
    if any(time is None for time in times):  # nerfstudio then renders all of them without a time
        return None, "not all cameras of the path have a render_time: it shows the first frame throughout"
    positions = np.clip(np.array(times, dtype=np.float64), 0.0, 1.0) * max(track.num_frames - 1, 1)
    # render_time has been through single precision in most paths
    whole = np.minimum(np.round(positions), track.num_frames - 1).astype(np.int64)
    reason = why_silent(positions / track.fps, frame_rate(path))
    if reason is not None:
        return None, reason
    return track.audio_starts[whole] + (positions - whole) / track.fps, None
