"""`talking-portrait`: Wang et al. 2025 (Computer Science 52(3):58-67) as a nerfstudio model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfstudio_talking.cameras.head_box import head_ellipsoid
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, TORSO_CLASSES, class_mask
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing
from nerfstudio_talking.field_components.conditioning import FrameCondition
from nerfstudio_talking.field_components.reference_features import sample_maps
from nerfstudio_talking.fields.grid_torso_field import GridTorsoField
from nerfstudio_talking.fields.torso_field import ReferenceTorsoField, TorsoField
from nerfstudio_talking.model_components.losses import layer_opacity_loss, parsing_cross_entropy
from nerfstudio_talking.model_components.renderers import over
from nerfstudio_talking.model_components.volume_renderer import FrameRays, render_volume
from nerfstudio_talking.models.volume_portrait import VolumePortraitModel, VolumePortraitModelConfig

TorsoKind = Literal["reference", "deformable_grid"]


@dataclass
class TalkingPortraitModelConfig(VolumePortraitModelConfig):
    """Options of `talking-portrait`."""

    _target: type = field(default_factory=lambda: TalkingPortraitModel)
    """Target class to instantiate."""
    torso: TorsoKind = "reference"
    """Which torso is built: 'reference' samples reference images, 'deformable_grid' is ER-NeRF's."""
    body_motion: bool = True
    """Whether the reference torso starts from the tracked motion of the body."""
    torso_hidden_dim: int = 64
    """Width of the torso's networks."""
    deformation_loss_mult: float = 1e-3
    """Weight of the torso's mean square deformation."""


class TalkingPortraitModel(VolumePortraitModel):
    """Head volume over torso field over background, under audio and eyes."""

    config: TalkingPortraitModelConfig
    torso_region: Tensor
    torso_classes: Tensor

    def populate_modules(self) -> None:
        """Build the head's volume and the torso's field."""
        super().populate_modules()
        sequence = self.sequence
        if not self.config.body_motion:
            self.track = self.track.replace(body=None)
            self.conditioning.load(self.track)
        box = self.scene_box.aabb
        head = torch.from_numpy(np.stack(head_ellipsoid(box.cpu().numpy())))[None]
        self.field = self.make_field(box, head)
        self.torso = self._make_torso()
        trained = torch.from_numpy(sequence.train_frames)
        self.torso.set_rest(self.conditioning.camera_to_worlds[trained], self.conditioning.body[trained])
        self.register_buffer("torso_region", _torso_region(sequence), persistent=False)
        self.register_classes("torso_classes", TORSO_CLASSES)
        self._eval_maps: Tensor | None = None

    def _make_torso(self) -> TorsoField:
        config, sequence = self.config, self.sequence
        shared: dict[str, Any] = {
            "hidden_dim": config.torso_hidden_dim,
            "implementation": config.implementation,
            "mlp_implementation": self.mlp_implementation,
        }
        if config.torso == "deformable_grid":
            return GridTorsoField(self.track.camera, **shared)
        references, motions = sequence.torso_references, None
        if references is None:
            references = np.zeros((1, self.track.height, self.track.width, 4), np.uint8)
        elif sequence.torso_frames is not None:
            motions = self.conditioning.body[sequence.torso_frames]
        rgba = torch.from_numpy(references).permute(0, 3, 1, 2).float() / 255
        return ReferenceTorsoField(rgba, self.track.camera, motions, **shared)

    def train(self, mode: bool = True) -> TalkingPortraitModel:
        """Switch between training and evaluation; what evaluation has cached is dropped."""
        self._eval_maps = None
        return super().train(mode)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        """Colour, depth (metres from the camera), opacity of the head, parsing colours, saliency of each modality."""
        rays = self.frame_rays(ray_bundle)
        torso_rgb, torso_alpha, offset = self.render_torso(rays.uv, rays.condition, rays.frame_of_ray)
        behind = torso_alpha * torso_rgb + (1 - torso_alpha) * self.background_of(rays.uv)
        outputs = self.render_head(rays)
        outputs["rgb"] = over(outputs.pop("color"), outputs["accumulation"], behind)
        if self.training:
            return outputs | {"torso_alpha": torso_alpha, "torso_offset": offset}
        accumulation = outputs["accumulation"]
        classes = outputs.pop("semantics").softmax(-1)
        classes_behind = torch.zeros_like(classes)
        classes_behind[:, CLASS_ID["cloth"]] = torso_alpha[:, 0]
        classes_behind[:, CLASS_ID["background"]] = 1 - torso_alpha[:, 0]
        label = over(accumulation * classes, accumulation, classes_behind).argmax(-1)
        outputs["depth"] = self.depth_before_plane(outputs)
        rgb = outputs.pop("rgb").clamp(0.0, 1.0)
        return {"rgb": rgb, **outputs, "parsing": self.palette[label], "torso_alpha": torso_alpha}

    def render_head(self, rays: FrameRays) -> dict[str, Tensor]:
        """The head's volume along rays (see `render_volume`)."""
        return render_volume(self.field, self.occupancy, rays, self.config.num_samples, self.training)

    def render_torso(
        self, uv: Float[Tensor, "points 2"], condition: FrameCondition, frames: Int64[Tensor, " points"]
    ) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 1"], Float[Tensor, "evaluated 2"]]:
        """The torso at positions on the image plane; where it is never seen it is transparent and not evaluated.

        Args:
            uv: positions on the image plane, in [-1, 1].
            condition: conditions of the distinct frames.
            frames: row of each position in the condition.

        Returns:
            Colour and opacity at every position, and the deformation, in half images, of those evaluated.
        """
        inside = sample_maps(self.torso_region, uv.clamp(-1, 1)[None])[0, :, 0] > 0
        rgb, alpha = uv.new_zeros(len(uv), 3), uv.new_zeros(len(uv), 1)
        if not inside.any():
            return rgb, alpha, uv.new_zeros(1, 2)
        if self.training:
            maps = self.torso.reference_maps()
        else:
            if self._eval_maps is None:
                self._eval_maps = self.torso.reference_maps()
            maps = self._eval_maps
        torso = self.torso(uv[inside].clamp(-1, 1), condition.poses, condition.body, frames[inside], maps)
        index = inside.nonzero()[:, 0]
        return rgb.index_copy(0, index, torso.rgb), alpha.index_copy(0, index, torso.alpha), torso.offset

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The shared losses, the torso's deformation, the opacity of head and torso, the parsing of the head."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if not self.training:
            return losses
        config = self.config
        losses["deformation_loss"] = config.deformation_loss_mult * outputs["torso_offset"].square().mean()
        if "parsing" not in batch:
            return losses
        parsing = self.parsing_of(batch)
        is_head, is_torso = self.head_classes[parsing], self.torso_classes[parsing]
        losses["mask_loss"] = config.mask_loss_mult * layer_opacity_loss(
            outputs["accumulation"][:, 0], outputs["torso_alpha"][:, 0], is_head, is_torso
        )
        if is_head.any():
            losses["semantic_loss"] = config.semantic_loss_mult * parsing_cross_entropy(
                outputs["semantics"][is_head], parsing[is_head]
            )
        return losses


def _torso_region(sequence: TalkingSequence, most: int = 64, side: int = 64) -> Float[Tensor, "1 1 side side"]:
    """Coarse map of where the torso is seen in up to `most` training frames and in the references, with a margin."""
    if sequence.parsing_paths is None:
        return torch.ones(1, 1, side, side)
    chosen = sequence.train_frames[:: max(len(sequence.train_frames) // most, 1)]
    seen = torch.zeros(1, 1, side, side)
    for frame in chosen:
        torso = torch.from_numpy(class_mask(load_parsing(sequence, int(frame)), TORSO_CLASSES))
        seen = torch.maximum(seen, F.adaptive_max_pool2d(torso[None, None].float(), side))
    if sequence.torso_references is not None:
        alpha = torch.from_numpy(sequence.torso_references[..., 3]).amax(0)[None, None]
        seen = torch.maximum(seen, F.adaptive_max_pool2d((alpha > 0).float(), side))
    return F.max_pool2d(seen, 5, 1, 2)
