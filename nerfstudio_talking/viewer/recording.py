"""A scene of the studio as an mp4 with its audio."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.inference.audio_input import RATE
from nerfstudio_talking.media.writing import VideoWriter
from nerfstudio_talking.provenance.credentials import VideoOrigin, signed_by
from nerfstudio_talking.provenance.watermark import mark_frame
from nerfstudio_talking.viewer.playback import FreeView, RenderOutputs, Scene, render_image


def record(
    scene: Scene,
    render: RenderOutputs,
    free_view: FreeView,
    ready: Callable[[], AbstractContextManager[object]],
    advance: Callable[[int, int], bool],
    origin: VideoOrigin,
) -> bytes | None:
    """Render all frames of a scene into an mp4, watermarked, and signed where c2pa-python is installed.

    Args:
        scene: what is recorded, at full size unless it has a scale.
        render: renders outputs.
        free_view: the browser's camera.
        ready: entered around each rendering.
        advance: called with the number of frames that are done, and of all; returns whether to go on.
        origin: what the credentials say.

    Returns:
        The content of the file, or None where it was stopped.

    Raises:
        TalkingError: the file cannot be written.
    """
    performance = scene.performance
    camera, pose = free_view(1.0 if scene.scale is None else scene.scale)

    def held_view(scale: float) -> tuple[PinholeCamera, Float[np.ndarray, "3 4"]]:
        return camera, pose

    def image_of(number: int) -> UInt8[np.ndarray, "height width 3"]:
        with ready():
            image = render_image(scene, number, render, held_view, 1.0 if scene.scale is None else scene.scale)
        return mark_frame(image)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "portrait.mp4"
        first = image_of(0)
        height, width = first.shape[:2]
        try:
            audio, finish = (performance.samples, RATE), signed_by(origin, path)
            with VideoWriter(path, performance.fps, width, height, audio=audio, finish=finish) as writer:
                writer.write(first)
                for number in range(1, performance.num_frames):
                    if not advance(number, performance.num_frames):
                        raise _Stopped
                    writer.write(image_of(number))
        except _Stopped:
            return None
        return path.read_bytes()


class _Stopped(Exception):
    """The user has stopped the recording."""
