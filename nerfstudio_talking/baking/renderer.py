"""Frames of a baked portrait: head from the bake, torso where the head does not hide it, background from an image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_talking.baking.file_format import Bake, load_bake
from nerfstudio_talking.baking.kernels import BLOCK, CHANNELS, OPAQUE, blend, march
from nerfstudio_talking.field_components.conditioning import FrameCondition
from nerfstudio_talking.field_components.reference_features import sample_maps
from nerfstudio_talking.io.digests import weights_digest
from nerfstudio_talking.models.talking_portrait import TalkingPortraitModel


class BakeRenderer:
    """Renders frames of the model's track as the recording camera sees them, in constant memory.

    The conditions of all frames are encoded when the player is made; make another one after `model.drive`.

    Args:
        model: the portrait that was baked, in evaluation mode, on the CPU.
        bake: of it.
        width: of the images, pixels.
        height: of the images, pixels.
    """

    @torch.no_grad()
    def __init__(self, model: TalkingPortraitModel, bake: Bake, width: int, height: int) -> None:
        self.model, self.bake, self.width, self.height = model, bake, width, height
        self.track = model.track
        self.condition = _all_conditions(model)
        self.terms = bake.terms(self.condition.audio, self.condition.eyes, self.condition.poses[:, :, 3])
        rows = (torch.arange(height) + 0.5) / height * 2 - 1
        grid = (torch.arange(width) + 0.5) / width * 2 - 1
        self._uv = torch.stack([grid.repeat(height), rows.repeat_interleave(width)], -1)
        self._background = model.background_of(self._uv)
        self._torso_region = sample_maps(model.torso_region, self._uv[None])[0, :, 0] > 0
        self._maps = model.torso.reference_maps()
        self._values = np.empty_like(bake.rest.numpy())
        self._rgba = np.empty((height, width, 4), np.float32)
        self._box = bake.box.numpy()
        self._ranges, self._bounds = bake.grid.ranges(), bake.grid.bounds()

    @property
    def num_frames(self) -> int:
        """Frames of the track."""
        return len(self.terms)

    @torch.no_grad()
    def render(self, frame: int) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width 1"]]:
        """Colour in [0, 1], and the head's opacity."""
        rgba = self._head(frame)
        colour, through = rgba[:, :3], 1 - rgba[:, 3:]
        behind = self._background
        index = (self._torso_region & (through[:, 0] > OPAQUE)).nonzero()[:, 0]
        if len(index):
            one = slice(frame, frame + 1)
            torso = self.model.torso(
                self._uv[index], self.condition.poses[one], self.condition.body[one],
                torch.zeros(len(index), dtype=torch.long), self._maps,
            )  # fmt: skip
            behind = behind.index_copy(0, index, torso.alpha * torso.rgb + (1 - torso.alpha) * behind[index])
        image = torch.addcmul(colour, through, behind).clamp_(0, 1)
        size = (self.height, self.width)
        return image.view(*size, 3), rgba[:, 3:].view(*size, 1)

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """All frames in order, as bytes."""
        for frame in range(self.num_frames):
            yield (self.render(frame)[0] * 255).round_().to(torch.uint8).numpy()

    def _head(self, frame: int) -> Float[Tensor, "pixels 4"]:
        """Premultiplied colour and opacity of the head. The result is overwritten by the next frame."""
        bake, grid = self.bake, self.bake.grid
        terms = self.terms[frame, 1:, None] * bake.steps  # (terms, channels)
        blend(bake.rest.numpy(), bake.coefficients.numpy(), terms.repeat(1, BLOCK // CHANNELS).numpy(), self._values)
        focal = self.model.track.camera.resize(self.width, self.height).focal
        march(
            self.condition.poses[frame].numpy(), np.float32(focal), self._box, grid.shape, grid.first,
            grid.offset, self._ranges, self._bounds, self._values.reshape(-1, CHANNELS), bake.num_samples,
            self._rgba,
        )  # fmt: skip
        return torch.from_numpy(self._rgba).view(-1, 4)


def _all_conditions(model: TalkingPortraitModel, chunk: int = 256) -> FrameCondition:
    """The conditions of every frame of the model's track."""
    parts = [model.frame_condition(frames) for frames in torch.arange(model.conditioning.num_frames).split(chunk)]
    return FrameCondition(
        *(torch.cat([getattr(p, name) for p in parts]) for name in ("audio", "eyes", "poses", "body"))
    )


def baked_outputs(model: TalkingPortraitModel, camera: Cameras) -> dict[str, Tensor]:
    """`rgb` and `accumulation` of a camera from the model's configured bake; nothing where it is no recording camera.

    Raises:
        TalkingError: the bake is missing, or of other weights.
    """
    track, condition = model.track, model.conditioning
    frame = int(condition.frames_of(camera.times, 1)[0][0])
    size = (int(camera.width.item()), int(camera.height.item()))
    focal = track.camera.resize(*size).focal
    recorded = condition.camera_to_worlds[frame].cpu()
    same = torch.allclose(camera.camera_to_worlds.view(-1, 3, 4)[0].cpu(), recorded, atol=1e-5)
    if camera.times is None or not same or abs(float(camera.fx.item()) - focal) > 1e-3 * focal:
        return {}
    renderer = model.renderer
    if renderer is None or (renderer.width, renderer.height) != size or renderer.track is not track:
        assert model.config.baked is not None
        renderer = BakeRenderer(model, load_bake(model.config.baked, weights_digest(model)), *size)
        model.renderer = renderer
    rgb, accumulation = renderer.render(frame)
    return {"rgb": rgb, "accumulation": accumulation.clone()}
