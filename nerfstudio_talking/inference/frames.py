"""Frames of a loaded portrait under any track, one at a time. The model is left as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.field_components.conditioning import ConditioningTrack

if TYPE_CHECKING:
    from nerfstudio_talking.baking.file_format import Bake
    from nerfstudio_talking.models.portrait_model import FrameRenderer, PortraitModel

RenderFrame = Callable[[TalkingTrack, int], UInt8[np.ndarray, "height width 3"]]
"""Frame number `frame` of a track, as the recording camera sees it."""

_locks: WeakKeyDictionary[torch.nn.Module, threading.Lock] = WeakKeyDictionary()
_locks_lock = threading.Lock()


@contextmanager
def driven_by(
    model: PortraitModel, track: TalkingTrack, conditioning: ConditioningTrack, renderer: FrameRenderer | None
) -> Iterator[None]:
    """Within the block the model speaks `track`; after it, its own again. One block at a time per model.

    Args:
        model: the portrait.
        track: what it speaks, a few frames.
        conditioning: takes the track's arrays in place of the model's own, which are not touched.
        renderer: the model's frame renderer within the block; None renders in full.
    """
    with _lock_of(model):
        own = model.conditioning, model.track, model.frame_renderer
        model.conditioning, model.frame_renderer = conditioning, renderer
        try:
            model.drive(track)
            yield
        finally:
            model.conditioning, model.track, model.frame_renderer = own


def own_track(model: PortraitModel) -> TalkingTrack:
    """The model's own track, whatever block is being rendered with another one."""
    with _lock_of(model):
        return model.track


def frame_renderer(
    model: PortraitModel, portrait: TalkingTrack, bake: Bake | None, width: int, height: int
) -> RenderFrame:
    """A function that renders frames of tracks with the recording camera at another size.

    Args:
        model: the portrait, in evaluation mode.
        portrait: its own track.
        bake: of the portrait, which is then on the CPU; None renders in full.
        width: pixels.
        height: pixels.
    """
    view = portrait.camera.resize(width, height)
    renderer = None
    if bake is not None:
        # only here, since its kernels take a second to import
        from nerfstudio_talking.baking.fit import bakeable
        from nerfstudio_talking.baking.renderer import BakeRenderer

        renderer = BakeRenderer(bakeable(model), bake)
    render = outputs_renderer(model, portrait, renderer)

    def render_frame(track: TalkingTrack, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        rgb = render(track, frame, view, track.camera_to_worlds[frame])["rgb"]
        return (rgb * 255).round().to(torch.uint8).cpu().numpy()

    return render_frame


def outputs_renderer(
    model: PortraitModel, portrait: TalkingTrack, renderer: FrameRenderer | None
) -> Callable[[TalkingTrack, int, PinholeCamera, Float[np.ndarray, "3 4"]], dict[str, Tensor]]:
    """A function that renders the outputs (height, width, channels) of a frame of a track, seen by a camera at a pose.

    Args:
        model: the portrait, in evaluation mode.
        portrait: its own track.
        renderer: the frame renderer that is asked first; None renders in full.
    """
    conditioning = ConditioningTrack(portrait.first(1)).to(model.device)

    def render(
        track: TalkingTrack, frame: int, view: PinholeCamera, pose: Float[np.ndarray, "3 4"]
    ) -> dict[str, Tensor]:
        camera = view.to_nerfstudio(pose[None], track.times[frame : frame + 1]).to(model.device)
        with driven_by(model, track, conditioning, renderer):
            return model.get_outputs_for_camera(camera)

    return render


def _lock_of(model: PortraitModel) -> threading.Lock:
    with _locks_lock:
        return _locks.setdefault(model, threading.Lock())
