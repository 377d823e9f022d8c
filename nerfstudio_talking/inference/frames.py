"""Frames of a loaded portrait under any track, one at a time. The model is left as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import UInt8

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.field_components.conditioning import ConditioningTrack

if TYPE_CHECKING:
    from nerfstudio_talking.baking.file_format import Bake
    from nerfstudio_talking.models.portrait_model import PortraitModel

RenderFrame = Callable[[TalkingTrack, int], UInt8[np.ndarray, "height width 3"]]
"""Frame number `frame` of a track, as the recording camera sees it."""

_locks: WeakKeyDictionary[torch.nn.Module, threading.Lock] = WeakKeyDictionary()
_locks_lock = threading.Lock()


@contextmanager
def driven_by(model: PortraitModel, track: TalkingTrack, conditioning: ConditioningTrack) -> Iterator[None]:
    """Within the block the model speaks `track`; after it, its own again. One block at a time per model.

    Args:
        model: the portrait.
        track: what it speaks, a few frames.
        conditioning: takes the track's arrays in place of the model's own, which are not touched.
    """
    with _lock_of(model):
        own_conditioning, own_track = model.conditioning, model.track
        model.conditioning = conditioning
        try:
            model.drive(track)
            yield
        finally:
            model.conditioning, model.track = own_conditioning, own_track


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
    conditioning = ConditioningTrack(portrait.first(1)).to(model.device)
    if bake is None:
        render = _full_renderer(model, portrait.camera.resize(width, height))
    else:
        render = _bake_renderer(model, bake, width, height)

    def render_frame(track: TalkingTrack, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        with driven_by(model, track, conditioning):
            return render(track, frame)

    return render_frame


def _lock_of(model: PortraitModel) -> threading.Lock:
    with _locks_lock:
        return _locks.setdefault(model, threading.Lock())


def _full_renderer(model: PortraitModel, view: PinholeCamera) -> RenderFrame:
    def render(track: TalkingTrack, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        one = slice(frame, frame + 1)
        camera = view.to_nerfstudio(track.camera_to_worlds[one], track.times[one]).to(model.device)
        rgb = model.get_outputs_for_camera(camera)["rgb"]
        return (rgb * 255).round().to(torch.uint8).cpu().numpy()

    return render


def _bake_renderer(model: PortraitModel, bake: Bake, width: int, height: int) -> RenderFrame:
    from nerfstudio_talking.baking.fit import bakeable
    from nerfstudio_talking.baking.renderer import BakeRenderer

    portrait = bakeable(model)
    renderer: BakeRenderer | None = None

    @torch.no_grad()
    def render(track: TalkingTrack, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        nonlocal renderer
        if renderer is None:  # it encodes the model's track: here, a few frames
            renderer = BakeRenderer(portrait, bake, width, height)
        renderer.condition = condition = portrait.frame_condition(torch.tensor([frame]))
        renderer.terms = bake.terms(condition.audio, condition.eyes, condition.poses[:, :, 3])
        return (renderer.render(0)[0] * 255).round_().to(torch.uint8).numpy()

    return render
