"""`ssp-nerf`: one field for the whole portrait, after SSP-NeRF (Liu et al., ECCV 2022), as a nerfstudio model.

From the paper: one radiance field for head and torso, a parsing branch, semantic-aware dynamic ray sampling, torso
deformation. Its training code was never released; docs/ssp-nerf.md says what is verified and what is our design.

Semantic-aware sampling is a loop. The sampler (data/pixel_samplers.py) draws rays by the running loss of each parsing
class, `class_loss`, a buffer of this model that is saved with the checkpoint; its batches say how often each class was
drawn (`class_oversampling`, `class_shares`); this model updates the running losses. The pipeline connects the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfstudio_talking.cameras.body_frame import middle_frame, portrait_box, torso_ellipsoid
from nerfstudio_talking.cameras.head_box import head_ellipsoid
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, PARSING_CLASSES
from nerfstudio_talking.fields.body_deformation import BodyDeformation
from nerfstudio_talking.model_components.losses import (
    background_weights,
    body_share_loss,
    mean_class_errors,
    opacity_loss,
    parsing_cross_entropy,
    squared_error,
    weighted_mean,
)
from nerfstudio_talking.model_components.renderers import over
from nerfstudio_talking.model_components.volume_renderer import render_volume
from nerfstudio_talking.models.volume_portrait import VolumePortraitModel, VolumePortraitModelConfig

_BACKGROUND_LOGIT = 6.0
"""Logit of the background class where the volume is empty."""
_SQUARE_DECIMETRES = 100.0
"""Square decimetres in a square metre."""


@dataclass
class SSPNeRFModelConfig(VolumePortraitModelConfig):
    """Options of `ssp-nerf`."""

    _target: type = field(default_factory=lambda: SSPNeRFModel)
    """Target class to instantiate."""
    log2_table_size: int = 15
    """Base-2 logarithm of the largest hash table of a level."""
    num_samples: int = 64
    """Number of uniform samples per ray through the portrait's box; samples in empty cells are skipped."""
    occupancy_resolution: int = 64
    """Number of cells of the occupancy grid along an axis."""
    occupancy_interval: int = 48
    """Number of steps between refreshes of the occupancy grid; short, because most of the box is empty."""
    parsing_branch: bool = True
    """Whether the parsing loss teaches the volume's features."""
    semantic_loss_mult: float = 0.02
    """Weight of the cross-entropy of the parsing branch."""
    deformation: bool = True
    """Whether the body moves by itself; without, the torso moves with the head."""
    deformation_hidden_dim: int = 32
    """Width of the deformation's networks."""
    offset_loss_mult: float = 1.0
    """Weight of the mean square offset of the deformation's network, in square decimetres."""
    body_loss_mult: float = 0.02
    """Weight of the cross-entropy between the rendered body share and the parsing."""
    class_loss_decay: float = 0.98
    """Decay per step of the running loss of each parsing class, by which rays are drawn."""


class SSPNeRFModel(VolumePortraitModel):
    """Head and torso in one volume over background, under audio and eyes."""

    config: SSPNeRFModelConfig
    class_loss: Tensor

    def populate_modules(self) -> None:
        """Build the volume and the body's deformation."""
        super().populate_modules()
        track = self.track
        poses = track.camera_to_worlds[self.sequence.train_frames]
        head_box = self.scene_box.aabb.cpu().numpy()
        box = portrait_box(head_box, poses, track.camera)
        ellipsoids = np.stack([np.stack(head_ellipsoid(head_box)), np.stack(torso_ellipsoid(head_box, box))])
        self.field = self.make_field(torch.from_numpy(box).float(), torch.from_numpy(ellipsoids))
        self.deformation: BodyDeformation | None = None
        if self.config.deformation:
            rest = torch.from_numpy(poses[middle_frame(poses)]).float()
            chin = float(head_box[0, 1]) + 0.02  # the box's margin
            self.deformation = BodyDeformation(
                self.field.box, chin, rest, track.camera, self.config.deformation_hidden_dim
            )
        self.register_buffer("class_loss", torch.full((len(PARSING_CLASSES),), 0.01))

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        """Colour, depth (metres from the camera), opacity of the person, parsing colours, saliency of each modality."""
        rays = self.frame_rays(ray_bundle)
        outputs = render_volume(
            self.field, self.occupancy, rays, self.config.num_samples, self.training, self.deformation
        )
        accumulation = outputs["accumulation"]
        outputs["rgb"] = over(outputs.pop("color"), accumulation, self.background_of(rays.uv))
        empty = torch.zeros_like(outputs["semantics"])
        empty[:, CLASS_ID["background"]] = _BACKGROUND_LOGIT
        outputs["semantics"] = over(outputs["semantics"], accumulation, empty)
        if self.training:
            return outputs
        label = outputs.pop("semantics").argmax(-1)
        outputs["depth"] = self.depth_before_plane(outputs)
        outputs.pop("squared_offset", None)
        rgb = outputs.pop("rgb").clamp(0.0, 1.0)
        return {"rgb": rgb, **outputs, "parsing": self.palette[label]}

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the rays, and the share of the rays that each parsing class got."""
        metrics = super().get_metrics_dict(outputs, batch)
        if "class_shares" in batch:
            metrics |= {f"rays_{name}": share for name, share in zip(PARSING_CLASSES, batch["class_shares"])}
        return metrics

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The shared losses, opacity and parsing of the person, and the deformation's regularisers."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if not self.training or "parsing" not in batch:
            return losses
        config, parsing = self.config, self.parsing_of(batch)
        if "patch_size" not in batch:
            self._update_class_loss(outputs["rgb"], batch["image"].to(self.device), parsing)
        opacity = outputs["accumulation"][:, 0]
        person = parsing != CLASS_ID["background"]
        losses["mask_loss"] = config.mask_loss_mult * opacity_loss(opacity, person, self.ray_weights(batch))
        losses["semantic_loss"] = config.semantic_loss_mult * parsing_cross_entropy(
            outputs["semantics"], parsing, self._oversampling(batch)
        )
        if self.deformation is not None:
            is_head, is_cloth = self.head_classes[parsing], parsing == CLASS_ID["cloth"]
            losses["body_loss"] = config.body_loss_mult * body_share_loss(
                outputs["body"][:, 0], opacity, is_head, is_cloth
            )
            offset = _SQUARE_DECIMETRES * outputs["squared_offset"].mean()
            losses["offset_loss"] = config.offset_loss_mult * offset
        return losses

    def photometric_loss(
        self, rgb: Float[Tensor, "rays 3"], image: Float[Tensor, "rays 3"], batch: dict[str, Any]
    ) -> Float[Tensor, ""]:
        """Mean square error of the colours, weighted by ray where rays are drawn by class."""
        weights = self.ray_weights(batch) if self.training else None
        return weighted_mean(squared_error(rgb, image), weights)

    def ray_weights(self, batch: dict[str, Any]) -> Float[Tensor, " rays"] | None:
        """Weight of each ray in the losses of colour and opacity; None where all are equal."""
        oversampling = self._oversampling(batch)
        if oversampling is None or "parsing" not in batch:
            return None
        return background_weights(self.parsing_of(batch), oversampling, CLASS_ID["background"])

    def _oversampling(self, batch: dict[str, Any]) -> Float[Tensor, " classes"] | None:
        """Frequency of each class among the rays over that among the pixels; None for rays not drawn by class."""
        oversampling = batch.get("class_oversampling")
        return None if oversampling is None else oversampling.to(self.device)

    @torch.no_grad()
    def _update_class_loss(self, rgb: Float[Tensor, "rays 3"], image: Float[Tensor, "rays 3"], parsing: Tensor) -> None:
        error = squared_error(rgb.float(), image)
        self.class_loss.copy_(mean_class_errors(self.class_loss, error, parsing, self.config.class_loss_decay))
