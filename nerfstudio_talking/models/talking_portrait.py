"""`talking-portrait`: Wang et al. 2025 (Computer Science 52(3):58-67) as a nerfstudio model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from torch import Tensor

from nerfstudio_talking.cameras.head_box import head_ellipsoid
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, HEAD_CLASSES, TORSO_CLASSES, class_mask
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing
from nerfstudio_talking.field_components.reference_features import sample_maps
from nerfstudio_talking.fields.torso_field import TorsoField, TorsoKind
from nerfstudio_talking.model_components.renderers import over
from nerfstudio_talking.model_components.volume_renderer import FrameRays, render_volume
from nerfstudio_talking.models.portrait_model import PortraitModel, PortraitModelConfig

if TYPE_CHECKING:
    from nerfstudio_talking.baking.renderer import BakeRenderer


@dataclass
class TalkingPortraitModelConfig(PortraitModelConfig):
    """Options of `talking-portrait`."""

    _target: type = field(default_factory=lambda: TalkingPortraitModel)
    """Target class to instantiate."""
    torso: TorsoKind = "reference"
    """Torso from reference images, or ER-NeRF's deformable grid."""
    body_motion: bool = True
    """Whether the reference torso starts from the body's tracked motion."""
    torso_hidden_dim: int = 64
    """Width of the torso's networks."""
    deformation_loss_mult: float = 1e-3
    """Weight of the torso's mean square deformation."""
    baked: Path | None = None
    """Evaluation takes the recording camera's images from this bake (`ns-talking bake`)."""


class TalkingPortraitModel(PortraitModel):
    """Head volume over torso field over background, under audio and eyes."""

    config: TalkingPortraitModelConfig
    torso_region: Tensor
    head_classes: Tensor
    torso_classes: Tensor

    def populate_modules(self) -> None:
        """Build the head's volume and the torso's field."""
        super().populate_modules()
        config, sequence = self.config, self.sequence
        if not config.body_motion:
            self.track = self.track.replace(body=None)
            self.conditioning.load(self.track)
        box = self.scene_box.aabb
        head = torch.from_numpy(np.stack(head_ellipsoid(box.cpu().numpy())))[None]
        self.field = self.make_field(box, head)
        references = sequence.torso_references
        if references is None:
            references = np.zeros((1, self.track.height, self.track.width, 4), np.uint8)
        self.torso = TorsoField(
            torch.from_numpy(references).permute(0, 3, 1, 2).float() / 255,
            self.track.camera,
            kind=config.torso,
            reference_motions=None if sequence.torso_frames is None else self.conditioning.body[sequence.torso_frames],
            hidden_dim=config.torso_hidden_dim,
            implementation=config.implementation,
            mlp_implementation=self.mlp_implementation,
        )
        trained = torch.from_numpy(sequence.train_frames)
        self.torso.set_rest(self.conditioning.camera_to_worlds[trained], self.conditioning.body[trained])
        self.register_buffer("torso_region", _torso_region(sequence), persistent=False)
        self.register_classes("head_classes", HEAD_CLASSES)
        self.register_classes("torso_classes", TORSO_CLASSES)
        self._eval_maps: Tensor | None = None
        self.renderer: BakeRenderer | None = None

    def train(self, mode: bool = True) -> TalkingPortraitModel:
        """Switch between training and evaluation; what evaluation keeps is forgotten."""
        self._eval_maps = None
        return super().train(mode)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        """Colour, depth (metres from the camera), opacity of the head, parsing colours, saliency of each modality."""
        rays = self.frame_rays(ray_bundle)
        torso_rgb, torso_alpha, offset = self._render_torso(rays)
        backdrop = torso_alpha * torso_rgb + (1 - torso_alpha) * self.background_of(rays.uv)
        outputs = render_volume(self.field, self.occupancy, rays, self.config.num_samples, self.training)
        outputs["rgb"] = over(outputs.pop("color"), outputs["accumulation"], backdrop)
        if self.training:
            return outputs | {"torso_alpha": torso_alpha, "torso_offset": offset}
        accumulation = outputs["accumulation"]
        classes = outputs.pop("semantics").softmax(-1)
        behind = torch.zeros_like(classes)
        behind[:, CLASS_ID["cloth"]] = torso_alpha[:, 0]
        behind[:, CLASS_ID["background"]] = 1 - torso_alpha[:, 0]
        winner = over(accumulation * classes, accumulation, behind).argmax(-1)
        outputs["depth"] = over(outputs["depth"], accumulation, torch.full_like(accumulation, self.plane_distance))
        outputs.pop("spread", None)
        rgb = outputs.pop("rgb").clamp(0.0, 1.0)
        return {"rgb": rgb, **outputs, "parsing": self.palette[winner], "torso_alpha": torso_alpha}

    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """The outputs of a whole image; with a bake, colour and opacity as played back from it."""
        outputs = super().get_outputs_for_camera(camera, obb_box)
        if self.config.baked is None or self.training:
            return outputs
        from nerfstudio_talking.baking.renderer import baked_outputs

        return outputs | baked_outputs(self, camera)

    def _render_torso(self, rays: FrameRays) -> tuple[Tensor, Tensor, Tensor]:
        """Colour, opacity and deformation of the torso under every ray; nothing is evaluated where it never is."""
        uv = rays.uv
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
        condition = rays.condition
        torso = self.torso(uv[inside].clamp(-1, 1), condition.poses, condition.body, rays.of_ray[inside], maps)
        index = inside.nonzero()[:, 0]
        return rgb.index_copy(0, index, torso.rgb), alpha.index_copy(0, index, torso.alpha), torso.offset

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The shared losses, the opacity of head and torso, the parsing of the head, the torso's deformation."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if not self.training:
            return losses
        config = self.config
        losses["deformation_loss"] = config.deformation_loss_mult * outputs["torso_offset"].square().mean()
        if "parsing" not in batch:
            return losses
        parsing = self.parsing_of(batch)
        is_head, is_torso = self.head_classes[parsing], self.torso_classes[parsing]
        accumulation = outputs["accumulation"][:, 0].clamp(1e-4, 1 - 1e-4)
        torso_alpha = outputs["torso_alpha"][:, 0].clamp(1e-4, 1 - 1e-4)
        head = F.binary_cross_entropy(accumulation, is_head.float())
        # what the head covers, the torso may be or not: the parsing does not say
        torso = F.binary_cross_entropy(torso_alpha, is_torso.float(), reduction="none")[~is_head].mean()
        losses["mask_loss"] = config.mask_loss_mult * (head + torso.nan_to_num())
        if is_head.any():
            losses["semantic_loss"] = config.semantic_loss_mult * F.cross_entropy(
                outputs["semantics"][is_head], parsing[is_head]
            )
        return losses


def _torso_region(sequence: TalkingSequence, most: int = 64, side: int = 64) -> Float[Tensor, "1 1 side side"]:
    """Coarse map of where the torso is seen in the training frames, with a margin, upwards under the chin most."""
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
