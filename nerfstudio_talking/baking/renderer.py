"""Frames of a baked portrait: head from the bake, torso where the head does not hide it, background from an image."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from nerfstudio_talking.baking.file_format import Bake, load_bake
from nerfstudio_talking.baking.kernels import BLOCK, CHANNELS, OPAQUE, blend, march
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.field_components.conditioning import FrameCondition
from nerfstudio_talking.io.digests import weights_digest
from nerfstudio_talking.models.talking_portrait import TalkingPortraitModel

_CONDITION_BLOCK = 32
"""Number of frames whose conditions are encoded together."""
_KEPT = 4
"""Number of blocks of conditions, and of image sizes, that are kept."""


@dataclass
class _View:
    """What is the same for all frames of the recording camera at one size."""

    uv: Float[Tensor, "pixels 2"]
    """Positions on the image plane."""
    background: Float[Tensor, "pixels 3"]
    """Colours of the background."""


class BakeRenderer:
    """A model's frame renderer (`PortraitModel.frame_renderer`) that takes the head from a bake.

    It serves the recording camera at any size, and every other pinhole camera that looks at the head from within the
    range of directions that the bake was sampled from; for all others it returns None, and the model renders them. It
    follows `model.drive`. Memory does not depend on the length of the track.

    Args:
        model: the portrait that was baked, in evaluation mode.
        bake: its bake.
    """

    def __init__(self, model: TalkingPortraitModel, bake: Bake) -> None:
        self.model, self.bake = model, bake
        self._track: TalkingTrack | None = None
        self._conditions: OrderedDict[int, FrameCondition] = OrderedDict()
        self._views: OrderedDict[tuple[int, int], _View] = OrderedDict()
        self._values = np.empty_like(bake.rest.numpy())
        self._box = bake.box.numpy()
        self._ranges, self._bounds = bake.grid.ranges(), bake.grid.bounds()

    @torch.no_grad()
    def __call__(self, camera: Cameras) -> dict[str, Tensor] | None:
        """`rgb`, `accumulation` (opacity of the head) and `depth` (distance of the image plane, metres) of one camera,
        (height, width, channels), or None where the model has to render it."""
        pinhole = _as_pinhole(camera)
        if pinhole is None or camera.times is None:
            return None
        conditioning = self.model.conditioning
        frame = int(conditioning.frames_of(camera.times, 1)[0][0])
        pose = camera.camera_to_worlds.reshape(-1, 3, 4)[0].to(self.model.device)
        focal = self.model.track.camera.resize(*pinhole.size).focal
        is_recorded = torch.allclose(pose, conditioning.camera_to_worlds[frame], atol=1e-5)
        if is_recorded and abs(pinhole.focal - focal) <= 1e-3 * focal:
            rgb, opacity = self.render(frame, *pinhole.size)
        elif self.bake.terms.covers(pose[:, 3].cpu()):
            uv, _ = self.model.image_plane_of(camera, conditioning.camera_to_worlds[frame])
            rgb, opacity = self._composite(frame, pinhole, pose, _View(uv, self.model.background_of(uv)))
        else:
            return None
        depth = torch.full_like(opacity, self.model.plane_distance)
        outputs = {"rgb": rgb, "accumulation": opacity, "depth": depth}
        return {name: value.to(camera.device) for name, value in outputs.items()}

    @torch.no_grad()
    def render(
        self, frame: int, width: int, height: int
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width 1"]]:
        """A frame of the model's track as the recording camera sees it: colour in [0, 1], and the head's opacity."""
        size = (width, height)
        if size not in self._views:
            rows = (torch.arange(height) + 0.5) / height * 2 - 1
            columns = (torch.arange(width) + 0.5) / width * 2 - 1
            uv = torch.stack([columns.repeat(height), rows.repeat_interleave(width)], -1).to(self.model.device)
            self._views[size] = _View(uv, self.model.background_of(uv))
            _drop_oldest(self._views)
        pose = self.model.conditioning.camera_to_worlds[frame]
        return self._composite(frame, self.model.track.camera.resize(width, height), pose, self._views[size])

    def _composite(
        self, frame: int, camera: PinholeCamera, pose: Float[Tensor, "3 4"], view: _View
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width 1"]]:
        condition = self._condition(frame)
        rgba = self._render_head(condition, camera, pose).to(self.model.device)
        color, transmittance = rgba[:, :3], 1 - rgba[:, 3:]
        behind = view.background
        index = (transmittance[:, 0] > OPAQUE).nonzero()[:, 0]
        if len(index):
            rgb, alpha, _ = self.model.render_torso(view.uv[index], condition, torch.zeros_like(index))
            behind = behind.index_copy(0, index, alpha * rgb + (1 - alpha) * behind[index])
        image = torch.addcmul(color, transmittance, behind).clamp_(0, 1)
        size = (camera.height, camera.width)
        return image.view(*size, 3), rgba[:, 3:].reshape(*size, 1)

    def _render_head(
        self, condition: FrameCondition, camera: PinholeCamera, pose: Float[Tensor, "3 4"]
    ) -> Float[Tensor, "pixels 4"]:
        """Premultiplied colour and opacity of the head, on the CPU."""
        bake, grid = self.bake, self.bake.grid
        pose = pose.cpu()
        terms = bake.terms(condition.audio.cpu(), condition.eyes.cpu(), pose[None, :, 3])
        steps = terms[0, 1:, None] * bake.steps  # (terms, channels)
        blend(bake.rest.numpy(), bake.coefficients.numpy(), steps.repeat(1, BLOCK // CHANNELS).numpy(), self._values)
        rgba = np.empty((camera.height, camera.width, 4), np.float32)
        march(
            pose.numpy(), np.float32(camera.focal), self._box, grid.shape, grid.first,
            grid.offset, self._ranges, self._bounds, self._values.reshape(-1, CHANNELS), bake.num_samples,
            rgba,
        )  # fmt: skip
        return torch.from_numpy(rgba).view(-1, 4)

    def _condition(self, frame: int) -> FrameCondition:
        """The condition of a frame of the model's present track, encoded together with its neighbours'."""
        if self.model.track is not self._track:
            self._track = self.model.track
            self._conditions.clear()
        start = frame // _CONDITION_BLOCK * _CONDITION_BLOCK
        if start not in self._conditions:
            end = min(start + _CONDITION_BLOCK, self.model.conditioning.num_frames)
            self._conditions[start] = self.model.frame_condition(torch.arange(start, end, device=self.model.device))
            _drop_oldest(self._conditions)
        block, row = self._conditions[start], slice(frame - start, frame - start + 1)
        return FrameCondition(block.audio[row], block.eyes[row], block.poses[row], block.body[row])


class DeferredBakeRenderer:
    """A frame renderer that reads its bake when the first frame is asked for.

    A pipeline is built before its weights are loaded, and a bake belongs to certain weights.

    Args:
        model: the portrait that was baked.
        path: the file that `ns-talking bake` wrote.
    """

    def __init__(self, model: TalkingPortraitModel, path: Path) -> None:
        self.model, self.path = model, path
        self._renderer: BakeRenderer | None = None

    def __call__(self, camera: Cameras) -> dict[str, Tensor] | None:
        """The outputs of one camera, or None (see `BakeRenderer`).

        Raises:
            TalkingError: the bake is missing, or of other weights.
        """
        if self._renderer is None:
            self._renderer = BakeRenderer(self.model, load_bake(self.path, weights_digest(self.model)))
        return self._renderer(camera)


def _as_pinhole(camera: Cameras) -> PinholeCamera | None:
    """One camera as a pinhole with a central principal point; None where it is another kind."""
    fx, fy, cx, cy = (float(x.reshape(-1)[0]) for x in (camera.fx, camera.fy, camera.cx, camera.cy))
    width, height = (int(x.reshape(-1)[0]) for x in (camera.width, camera.height))
    is_central = abs(cx - width / 2) <= 1e-3 * width and abs(cy - height / 2) <= 1e-3 * height
    is_perspective = int(camera.camera_type.reshape(-1)[0]) == CameraType.PERSPECTIVE.value
    is_distorted = camera.distortion_params is not None and bool(camera.distortion_params.any())
    if not is_central or not is_perspective or is_distorted or abs(fx - fy) > 1e-3 * fx:
        return None
    return PinholeCamera(fx, width, height)


def _drop_oldest(cache: OrderedDict) -> None:
    while len(cache) > _KEPT:
        cache.popitem(last=False)
