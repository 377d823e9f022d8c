"""A camera path of nerfstudio's renderer, with the clip's audio under it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from nerfstudio_talking.io.errors import TalkingError


def render_with_audio(load_config: Path, camera_path: Path, output: Path, render: Callable[[Path], None]) -> float:
    """Render silently beside the target, then join image and audio.

    Args:
        load_config: config.yml of the portrait.
        camera_path: JSON of `ns-talking path` or of the viewer, with a `render_time` per key frame.
        output: the video to write.
        render: renders the camera path silently into the file it is given.

    Returns:
        The second of the clip that the audio starts with.

    Raises:
        TalkingError: there is no camera path or no audio, or the video cannot be written.
    """
    from nerfstudio_talking.inference.checkpoints import ensure_ffmpeg
    from nerfstudio_talking.media.writing import mux_audio

    samples, start = camera_path_audio(load_config, camera_path)
    ensure_ffmpeg()
    silent = output.with_name(output.stem + ".silent.mp4")
    render(silent)
    mux_audio(silent, samples, 16000, output)
    silent.unlink()
    return start


def camera_path_audio(load_config: Path, camera_path: Path) -> tuple[Float32[np.ndarray, " samples"], float]:
    """The audio that a camera path plays, and the second of the clip that it starts with.

    Raises:
        TalkingError: there is no camera path, or the clip has no audio there.
    """
    from nerfstudio_talking.dataset_io.validation import load_any_sequence
    from nerfstudio_talking.inference.checkpoints import read_run
    from nerfstudio_talking.media.reading import read_audio

    if not camera_path.is_file():
        hint = "Write one with `ns-talking path --data DIR`."
        raise TalkingError(camera_path, expected="a camera path", found="no such file", hint=hint)
    path = json.loads(camera_path.read_text(encoding="utf-8"))
    manager = read_run(load_config).pipeline.datamanager
    track = load_any_sequence(manager.data or manager.dataparser.data).track  # type: ignore[attr-defined]
    if track.audio_path is None:
        hint = "Use ns-render for a silent video."
        raise TalkingError(load_config, expected="a clip with audio", found="none", hint=hint)
    start = round(float(path["camera_path"][0].get("render_time") or 0.0) * (track.num_frames - 1)) / track.fps
    return read_audio(track.audio_path, start=start, duration=float(path["seconds"])), start
