"""`ssp-nerf`: one field for the whole portrait, after SSP-NeRF (Liu et al., ECCV 2022), as a nerfstudio model.

From the paper: one radiance field for head and torso, a parsing branch, semantic-aware dynamic ray sampling, torso
deformation. Its training code was never released; docs/ssp-nerf.md says what is verified and what is our design.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from torch import Tensor

from nerfstudio_talking.cameras.body_frame import middle_frame, portrait_box, torso_ellipsoid
from nerfstudio_talking.cameras.head_box import head_ellipsoid
from nerfstudio_talking.data.class_budget import background_weights
from nerfstudio_talking.data.pixel_samplers import SemanticPixelSampler
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, HEAD_CLASSES, PARSING_CLASSES
from nerfstudio_talking.fields.body_deformation import BodyDeformation
from nerfstudio_talking.model_components.renderers import over
from nerfstudio_talking.model_components.volume_renderer import render_volume
from nerfstudio_talking.models.portrait_model import PortraitModel, PortraitModelConfig

_BACKGROUND_LOGIT = 6.0
"""Logit of the background class where the volume is empty."""


@dataclass
class SSPNeRFModelConfig(PortraitModelConfig):
    """Options of `ssp-nerf`."""

    _target: type = field(default_factory=lambda: SSPNeRFModel)
    """Target class to instantiate."""
    log2_table_size: int = 15
    """Largest table of a level, as a power of two."""
    num_samples: int = 64
    """Places along a ray through the portrait's box; those in empty cells cost nothing."""
    occupancy_resolution: int = 64
    """Cells of the occupancy grid along an axis."""
    occupancy_interval: int = 48
    """Steps between refreshes of the occupancy grid: most of the box is empty, and that is to be known early."""
    parsing_branch: bool = True
    """Whether the parsing teaches the volume's features."""
    semantic_loss_mult: float = 0.02
    """Weight of the parsing branch; it shapes the volume."""
    deformation: bool = True
    """Whether the body moves by itself; without, the torso is stuck to the head."""
    deformation_hidden_dim: int = 32
    """Width of the deformation's networks."""
    offset_loss_mult: float = 1.0
    """Weight of the mean square offset of the deformation's network, in square decimetres."""
    body_loss_mult: float = 0.02
    """Weight of the share in the body against the parsing: none on the head, all on the clothes."""
    class_loss_decay: float = 0.98
    """Of the running loss per class that divides the rays."""


class SSPNeRFModel(PortraitModel):
    """Head and torso in one volume over background, under audio and eyes."""

    config: SSPNeRFModelConfig
    class_loss: Tensor
    class_relevance: Tensor
    head_classes: Tensor

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
        classes = len(PARSING_CLASSES)
        self.register_buffer("class_loss", torch.full((classes,), 0.01))
        self.register_buffer("class_relevance", torch.zeros(classes))
        self.register_classes("head_classes", HEAD_CLASSES)
        self._sampler: SemanticPixelSampler | None = None

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The shared ones; and the sampler reads the running losses from here, whose checkpoint keeps them."""
        pipeline = training_callback_attributes.pipeline
        sampler = getattr(getattr(pipeline, "datamanager", None), "sampler", None)
        if isinstance(sampler, SemanticPixelSampler):
            sampler.follow(self.class_loss, self.class_relevance)
            self._sampler = sampler
        return super().get_training_callbacks(training_callback_attributes)

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
        winner = outputs.pop("semantics").argmax(-1)
        outputs["depth"] = over(outputs["depth"], accumulation, torch.full_like(accumulation, self.plane_distance))
        for name in ("spread", "offset"):
            outputs.pop(name, None)
        rgb = outputs.pop("rgb").clamp(0.0, 1.0)
        return {"rgb": rgb, **outputs, "parsing": self.palette[winner]}

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the rays, and how they are divided among the classes."""
        metrics = super().get_metrics_dict(outputs, batch)
        if self.training and self._sampler is not None and self._sampler.drawn is not None:
            for name, share in zip(PARSING_CLASSES, self._sampler.drawn):
                metrics[f"rays_{name}"] = share
        return metrics

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The shared losses, opacity and parsing of the person, and the deformation's regularisers."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if not self.training or "parsing" not in batch:
            return losses
        config, parsing = self.config, self.parsing_of(batch)
        if "patch_size" not in batch:
            self._follow_losses(outputs, batch["image"].to(self.device), parsing)
        accumulation = outputs["accumulation"][:, 0].clamp(1e-4, 1 - 1e-4)
        person = (parsing != CLASS_ID["background"]).float()
        opacity_loss = F.binary_cross_entropy(accumulation, person, self.ray_weights(batch))
        losses["mask_loss"] = config.mask_loss_mult * opacity_loss
        logits = outputs["semantics"]
        if (oversampling := self._oversampling(batch)) is not None:
            logits = logits + oversampling.log().to(logits)
        losses["semantic_loss"] = config.semantic_loss_mult * F.cross_entropy(logits, parsing)
        if self.deformation is not None:
            seen = accumulation.detach()
            body = (outputs["body"][:, 0] / seen).clamp(1e-4, 1 - 1e-4)
            cloth = parsing == CLASS_ID["cloth"]
            told = (self.head_classes[parsing] | cloth) & (seen > 0.3)
            if told.any():
                losses["body_loss"] = config.body_loss_mult * F.binary_cross_entropy(body[told], cloth[told].float())
            losses["offset_loss"] = config.offset_loss_mult * 100 * outputs["offset"].mean()
        return losses

    def photometric_loss(
        self, rgb: Float[Tensor, "rays 3"], image: Float[Tensor, "rays 3"], batch: dict[str, Tensor]
    ) -> Float[Tensor, ""]:
        """Mean square error of the colours, weighted by ray where rays are drawn by class."""
        error = (rgb - image).square().mean(-1)
        weights = self.ray_weights(batch) if self.training else None
        return (error if weights is None else weights * error).mean()

    def ray_weights(self, batch: dict[str, Tensor]) -> Float[Tensor, " rays"] | None:
        """What each ray counts in the losses of colour and opacity; None where all count alike."""
        oversampling = self._oversampling(batch)
        if oversampling is None or "parsing" not in batch:
            return None
        return background_weights(self.parsing_of(batch), oversampling, CLASS_ID["background"])

    def _oversampling(self, batch: dict[str, Tensor]) -> Float[Tensor, " classes"] | None:
        """How much more often than its pixels each class is among the rays; None where they were drawn evenly."""
        if "patch_size" in batch or self._sampler is None or self._sampler.oversampling is None:
            return None
        return self._sampler.oversampling.to(self.device)

    @torch.no_grad()
    def _follow_losses(self, outputs: dict[str, Tensor], image: Tensor, parsing: Tensor) -> None:
        """Running photometric loss and audio's relevance of each class among the rays."""
        count = torch.bincount(parsing, minlength=len(PARSING_CLASSES))[: len(PARSING_CLASSES)]
        seen = count > 0
        decay = self.config.class_loss_decay
        error = (outputs["rgb"].float() - image).square().mean(-1)
        for running, value in (
            (self.class_loss, error),
            (self.class_relevance, outputs["saliency_audio"][:, 0].float()),
        ):
            mean = torch.zeros_like(running).index_add_(0, parsing, value.to(running.dtype)) / count.clamp_min(1)
            running.copy_(torch.where(seen, decay * running + (1 - decay) * mean, running))
