"""`er-nerf`: ER-NeRF (Li et al., ICCV 2023) re-implemented on our parts, as the baseline that Wang et al. compare with.

As published: tri-plane hash of 12 levels with one feature in tables of 2^14 (section 3.2), a network per modality that
finds a point's region from its features alone (3.3), an eye opening jittered in training, a free audio code of 32
channels, view directions in spherical harmonics of degree 4, a 2-D deformable torso behind three learned anchors that
follow the pose (3.4), squared error and entropy of the opacity, a lips phase with LPIPS on patches, and its schedule.

The head is trained over the ground-truth torso and the torso over the background, as in its two stages, and neither
gets a gradient from the other; here both happen in one run.

What differs from the publication, in its favour or neutral unless said otherwise:

- One run instead of head, lips and torso one after another; in the lips phase every second step is a patch of the
  mouth, the others keep uniform rays.
- Our box around the head, initial shape, samples along rays and occupancy grid instead of its cube and its marching of
  at most 16 samples; the torso's grid ends at 384 cells, not 2048, and the anchors start where a neck is.
- No code per frame for exposure (it is held at the first frame's in their tests), no uncertainty that weighs rays,
  no moving average of the weights. Networks have biases. The eyes' attention has no sigmoid, and eyes may be two.
- No loss on saliency outside the region that a modality belongs to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfstudio_talking.field_components.conditioning import EYE_SCALE, FrameCondition
from nerfstudio_talking.field_components.region_saliency import RegionModule
from nerfstudio_talking.model_components.renderers import over
from nerfstudio_talking.models.talking_portrait import TalkingPortraitModel, TalkingPortraitModelConfig, TorsoKind


@dataclass
class ERNeRFModelConfig(TalkingPortraitModelConfig):
    """Options of `er-nerf`; the defaults are the published numbers."""

    _target: type = field(default_factory=lambda: ERNeRFModel)
    """Target class to instantiate."""
    region_module: RegionModule = "mlp"
    """How a modality is weighted over space: 'mlp' is ER-NeRF's network."""
    audio_condition: Literal["mouth_shape", "code"] = "code"
    """What the portrait is conditioned on for audio: 'code' is a free code, as published."""
    audio_dropout: float = 0.0
    """Dropout probability in the audio encoder."""
    audio_noise: float = 0.0
    """Standard deviation of the noise on the normalised audio features in training."""
    eyes_noise: float = 0.05
    """Half range of the uniform jitter of the eye opening in training."""
    direction_levels: int = 4
    """Degree of the spherical harmonics of the view direction."""
    torso: TorsoKind = "deformable_grid"
    """Which torso is built: 'deformable_grid' is ER-NeRF's."""
    body_motion: bool = False
    """Whether the torso starts from the tracked motion of the body: ER-NeRF's knows the head's pose alone."""
    torso_hidden_dim: int = 32
    """Width of the torso's networks."""
    entropy_loss_mult: float = 1e-4 / math.log(2)
    """Weight of the entropy of the volume's opacity: 1e-4 of the entropy in bits."""
    depth_variance_loss_mult: float = 0.0
    """Weight of the variance of depth along a ray: zero in ER-NeRF."""
    surface_loss_mult: float = 0.0
    """Weight of the distance to the tracked face's surface, of which ER-NeRF knows nothing."""
    mask_loss_mult: float = 0.0
    """Weight of the cross-entropy between the opacity of the layers and the parsing: zero, since the ground-truth torso
    behind the head separates them."""
    deformation_loss_mult: float = 0.0
    """Weight of the torso's mean square deformation: zero in ER-NeRF."""
    patch_loss_mult: float = 0.01
    """Weight of LPIPS, or of 1 - SSIM where LPIPS has no weights, on mouth patches in the lips phase."""

    def learning_rates(self) -> dict[str, float]:
        """Initial learning rate of each parameter group, as published."""
        return {"audio": 1e-3, "tables": 1e-2, "networks": 1e-3}


class ERNeRFModel(TalkingPortraitModel):
    """Head volume over deformable torso grid over background, each learning from its own part of the image."""

    config: ERNeRFModelConfig

    def frame_condition(self, frames: Int64[Tensor, " frames"]) -> FrameCondition:
        """The shared conditions; in training the eye opening is jittered."""
        condition = super().frame_condition(frames)
        if not self.training:
            return condition
        jitter = EYE_SCALE * self.config.eyes_noise * (2 * torch.rand_like(condition.eyes) - 1)
        return replace(condition, eyes=condition.eyes + jitter)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        """The composited image, as of every talking portrait; in training also its layers."""
        if not self.training:
            return super().get_outputs(ray_bundle)
        rays = self.frame_rays(ray_bundle)
        torso_rgb, torso_alpha, offset = self.render_torso(rays.uv, rays.condition, rays.frame_of_ray)
        background = self.background_of(rays.uv)
        behind = over(torso_alpha * torso_rgb, torso_alpha, background)
        outputs = self.render_head(rays)
        outputs["rgb"] = over(outputs["color"], outputs["accumulation"], behind)
        layers = {"background": background, "torso": behind, "torso_alpha": torso_alpha, "torso_offset": offset}
        return outputs | layers

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The shared losses on the head over the ground-truth torso, and the squared error of the torso beside the
        head.

        Clips without parsing cannot separate the layers: there the composited image teaches both.
        """
        if not self.training or "parsing" not in batch:
            return super().get_loss_dict(outputs, batch, metrics_dict)
        image, parsing = batch["image"].to(self.device), self.parsing_of(batch)
        is_torso, is_head = self.torso_classes[parsing][:, None], self.head_classes[parsing]
        behind = torch.where(is_torso, image, outputs["background"])
        head = over(outputs["color"], outputs["accumulation"], behind)
        losses = super().get_loss_dict(outputs | {"rgb": head}, batch, metrics_dict)
        # the torso behind the head is not known: the published torso images are inpainted under the chin
        if not is_head.all():
            losses["torso_loss"] = F.mse_loss(outputs["torso"][~is_head], image[~is_head])
        return losses
