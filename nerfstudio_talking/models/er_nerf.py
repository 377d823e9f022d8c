"""`er-nerf`: ER-NeRF (Li et al., ICCV 2023) re-implemented on our parts, as the baseline that Wang et al. compare with.

As published: tri-plane hash of 12 levels with one feature in tables of 2^14 (section 3.2), a network per modality that
tells a point's region from its features alone (3.3), an eye value jittered in training, a free audio code of 32
channels, view directions in spherical harmonics of degree 4, a 2-D deformable torso behind three learned anchors that
carry the pose (3.4), squared error and entropy of the opacity, a lips phase with LPIPS on patches, and its schedule.

The head is trained over the true torso and the torso over the background, as in its two stages, and neither gets a
gradient from the other; here both happen in one run.

What differs from the publication, in its favour or neutral unless said otherwise:

- One run instead of head, lips and torso one after another; in the lips phase every second step is a patch about the
  mouth, the others keep uniform rays.
- Our box around the head, first guess of its shape, sampling along rays and occupancy grid instead of its cube and its
  marching of at most 16 samples; the torso's grid ends at 384 cells, not 2048, and the anchors start where a neck is.
- No code per frame for exposure (it is held at the first frame's in their tests), no uncertainty that weighs rays,
  no moving average of the weights. Networks have biases. The eyes' attention has no sigmoid, and eyes may be two.
- Saliency outside its region is punished by parsing class, not by the rectangle of the landmarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfstudio_talking.field_components.conditioning import FrameCondition
from nerfstudio_talking.field_components.region_saliency import RegionModule
from nerfstudio_talking.fields.torso_field import TorsoKind
from nerfstudio_talking.model_components.renderers import over
from nerfstudio_talking.model_components.volume_renderer import render_volume
from nerfstudio_talking.models.talking_portrait import TalkingPortraitModel, TalkingPortraitModelConfig


@dataclass
class ERNeRFModelConfig(TalkingPortraitModelConfig):
    """Options of `er-nerf`; the defaults are the published numbers."""

    _target: type = field(default_factory=lambda: ERNeRFModel)
    """Target class to instantiate."""
    region_module: RegionModule = "mlp"
    """How a modality is spread over space."""
    audio_condition: Literal["mouth_shape", "code"] = "code"
    """What audio tells the volume."""
    audio_dropout: float = 0.0
    """Dropout in the audio encoder."""
    audio_noise: float = 0.0
    """Noise on the normalised audio features in training."""
    eyes_noise: float = 0.05
    """Half range of the jitter on the eyes' opening in training."""
    direction_levels: int = 4
    """Degree of the spherical harmonics of the view direction."""
    torso: TorsoKind = "deformable_grid"
    """Its own torso."""
    body_motion: bool = False
    """Its torso knows the head's pose alone."""
    torso_hidden_dim: int = 32
    """Width of the torso's networks."""
    entropy_loss_mult: float = 1e-4 / math.log(2)
    """Weight of the entropy of the volume's opacity; 1e-4 of the entropy in bits."""
    spread_loss_mult: float = 0.0
    """Weight of the variance of depth along a ray: none in ER-NeRF."""
    mask_loss_mult: float = 0.0
    """Weight of the opacity of the layers against the parsing: the true torso behind the head tells them apart."""
    deformation_loss_mult: float = 0.0
    """Weight of the torso's mean square deformation: none in ER-NeRF."""
    patch_loss_mult: float = 0.01
    """Weight of LPIPS, or of 1 - SSIM where its weights are not to be had, on mouth patches in the lips phase."""


class ERNeRFModel(TalkingPortraitModel):
    """Head volume over deformable torso grid over background, each learning from its own part of the image."""

    config: ERNeRFModelConfig

    def frame_condition(self, frames: Tensor) -> FrameCondition:
        """The shared conditions, the eyes' opening jittered in training."""
        condition = super().frame_condition(frames)
        if not self.training:
            return condition
        # the condition is twice the closure
        jitter = 2 * self.config.eyes_noise * (2 * torch.rand_like(condition.eyes) - 1)
        return replace(condition, eyes=condition.eyes + jitter)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        """The composed image, as every portrait's; in training the layers apart as well."""
        if not self.training:
            return super().get_outputs(ray_bundle)
        rays = self.frame_rays(ray_bundle)
        torso_rgb, torso_alpha, offset = self._render_torso(rays)
        background = self.background_of(rays.uv)
        torso = over(torso_alpha * torso_rgb, torso_alpha, background)
        outputs = render_volume(self.field, self.occupancy, rays, self.config.num_samples, True)
        outputs["rgb"] = over(outputs["color"], outputs["accumulation"], torso)
        layers = {"background": background, "torso": torso, "torso_alpha": torso_alpha, "torso_offset": offset}
        return outputs | layers

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The shared losses on the head over the true torso, and the squared error of the torso beside the head.

        Clips without parsing cannot tell the layers apart: there the composed image teaches both.
        """
        if not self.training or "parsing" not in batch:
            return super().get_loss_dict(outputs, batch, metrics_dict)
        image, parsing = batch["image"].to(self.device), self.parsing_of(batch)
        is_torso, is_head = self.torso_classes[parsing][:, None], self.head_classes[parsing]
        behind = torch.where(is_torso, image, outputs["background"])
        head = over(outputs["color"], outputs["accumulation"], behind)
        losses = super().get_loss_dict(outputs | {"rgb": head}, batch, metrics_dict)
        # what the head covers is not told: their torso images are painted on under the chin
        if not is_head.all():
            losses["torso_loss"] = F.mse_loss(outputs["torso"][~is_head], image[~is_head])
        return losses
