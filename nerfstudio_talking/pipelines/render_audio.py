"""Audio in the videos of `ns-render`: nerfstudio's renderer writes them silent and tells nobody where.

All its video commands call one function of its module. A portrait that is loaded by one of them puts a function around
it that reads the clip's audio before the first frame is rendered and adds it to the finished file.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from rich.markup import escape

from nerfstudio_talking.inference.render_clip import RATE, audio_of_times
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.media.writing import VIDEO_SUFFIXES, mux_audio
from nerfstudio_talking.models.portrait_model import PortraitModel
from nerfstudio_talking.provenance.credentials import VideoOrigin, signed_by

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

_FUNCTION = "_render_trajectory_video"


def add_audio_to_renders() -> None:
    """Let the videos that nerfstudio's renderer writes from now on have the audio of the frames that they show."""
    for name in ("nerfstudio.scripts.render", "__main__"):  # `ns-render`, and `python -m nerfstudio.scripts.render`
        module = sys.modules.get(name)
        render = getattr(module, _FUNCTION, None)
        if render is not None and not hasattr(render, "__wrapped__"):
            setattr(module, _FUNCTION, with_audio(render))


def with_audio(render: Callable[..., None]) -> Callable[..., None]:
    """nerfstudio's function that renders cameras to a file, with audio where it shows a portrait that wants it.

    The pipeline's option `render_audio` says whether it does.
    """
    signature = inspect.signature(render)

    @functools.wraps(render)
    def render_with_audio(*args: object, **options: object) -> None:
        call = signature.bind(*args, **options)
        call.apply_defaults()
        given = call.arguments
        model, output = given["pipeline"].model, Path(given["output_filename"])
        wanted = getattr(given["pipeline"].config, "render_audio", False) and given["output_format"] == "video"
        if not wanted or not isinstance(model, PortraitModel):
            return render(*args, **options)
        if output.suffix.lower() not in VIDEO_SUFFIXES:
            samples, reason = None, f"audio is added to {', '.join(VIDEO_SUFFIXES)}, not to {output.suffix}"
        else:
            fps = len(given["cameras"]) / given["seconds"]
            samples, reason = audio_of_times(model.track, _times(given["cameras"]), fps)
        render(*args, **options)
        if output.suffix.lower() in VIDEO_SUFFIXES:
            origin = VideoOrigin(type(model).__name__, model.track.digest)
            # a silent video too is marked as synthetic
            mux_audio(output, samples, RATE, output, signed_by(origin, output))
        if reason is None:
            CONSOLE.print("[green]The video has the audio of the frames that it shows.", soft_wrap=True)
        else:
            CONSOLE.print(f"[yellow]The video is silent: {escape(reason)}.", soft_wrap=True)

    return render_with_audio


def _times(cameras: Cameras) -> Float[np.ndarray, " frames"] | None:
    return None if cameras.times is None else cameras.times.reshape(-1).double().cpu().numpy()
