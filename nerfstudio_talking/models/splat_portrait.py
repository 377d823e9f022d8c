"""`splat-portrait`: head, inner mouth and torso as Gaussians before a background image, rendered as whole images.

Head and inner mouth live in the head's frame; the torso in the recording camera's, and follows the body. All are
moved, faded and shaded by the frame's conditions through blend modes
(fields/deformable_gaussians.py). What no condition tells (a glance, a raised brow) is taken in training by a short code
per frame, which is zero afterwards, and by small corrections of head and body pose, so that it does not blur the face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor, nn
from torch.nn import Parameter

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.parsing_labels import MOUTH_CLASSES
from nerfstudio_talking.field_components.conditioning import FrameCondition, pose_code
from nerfstudio_talking.field_components.frame_residuals import FrameResiduals
from nerfstudio_talking.fields.deformable_gaussians import DeformableGaussians
from nerfstudio_talking.model_components.density_control import DensityControl
from nerfstudio_talking.model_components.image_losses import lips_loss, structural_similarity, weighted_absolute_error
from nerfstudio_talking.model_components.losses import LpipsNetwork
from nerfstudio_talking.models.portrait_model import PortraitModel, PortraitModelConfig
from nerfstudio_talking.splatting.gaussians import Gaussians, concatenate, move_in_image
from nerfstudio_talking.splatting.projection import project_gaussians
from nerfstudio_talking.splatting.rasterize import Implementation, rasterize

_SHARES = {"head": 0.62, "mouth": 0.03, "torso": 0.35}
"""Share of each group among the Gaussians."""
_MODALITIES = {
    "head": ("audio", "eyes", "pose", "residual"),
    "mouth": ("audio", "pose", "residual"),
    "torso": ("pose", "residual"),
}
"""What each group is conditioned on."""
_GATED = ("audio", "eyes")
"""The modalities with a regional saliency."""


@dataclass
class SplatPortraitModelConfig(PortraitModelConfig):
    """Options of `splat-portrait`."""

    _target: type = field(default_factory=lambda: SplatPortraitModel)
    """Target class to instantiate."""
    predicted_mouth_prob: float = 0.0
    """Probability that a training frame is conditioned on the audio-predicted mouth shape instead of the tracked one:
    none, since pictures of lips that are elsewhere teach the portrait to hardly move them."""
    implementation: Implementation = "auto"
    """Implementation of the rasterizer: 'gsplat' on CUDA, 'numba' on CPUs, 'torch' anywhere; 'auto' chooses."""
    max_gaussians: int = 40_000
    """Greatest number of Gaussians of head, mouth and torso together."""
    gaussians_per_pixel: float = 0.35
    """Number of Gaussians per pixel of the recording, up to `max_gaussians`."""
    audio_modes: int = 48
    """Number of blend modes under the audio condition."""
    eye_modes: int = 8
    """Number of blend modes under the eyes."""
    pose_modes: int = 8
    """Number of blend modes under the head pose, which shade the face as it turns in the light."""
    residual_modes: int = 8
    """Number of blend modes under the code of a training frame."""
    residual_dim: int = 8
    """Length of the code of a training frame."""
    mode_hidden_dim: int = 4
    """Width of the networks that map a condition to what its modes add, beside a linear map."""
    refine_poses: bool = True
    """Whether head pose and body motion of training frames are corrected along with the picture."""
    ssim_loss_mult: float = 0.2
    """Weight of 1 - SSIM; the absolute error weighs one minus this."""
    lpips_loss_mult: float = 0.01
    """Weight of LPIPS of a window about the lips; without its weights there is no such loss."""
    lpips_weights: Path | None = None
    """Torchvision's AlexNet for LPIPS; the torch cache is searched where not given."""
    region_weight: float = 1.0
    """Additional weight of the pixels of lips, inner mouth and eyes in the absolute error."""
    scale_loss_mult: float = 0.02
    """Weight of how far Gaussians are larger than `max_scale`."""
    max_scale: float = 0.006
    """Standard deviation of a Gaussian above which it is penalised, metres."""
    opacity_loss_mult: float = 0.0
    """Weight of the mean opacity, under which Gaussians that add nothing fade and are relocated."""
    relocation_interval: int = 100
    """Number of steps between relocations of faded Gaussians."""
    relocation_stop: float = 0.7
    """Share of the training after which no Gaussian is relocated any more."""
    smoothness_loss_mult: float = 0.01
    """Weight of the mean square difference of neighbours' codes, so that they move together."""
    surface_loss_mult: float = 2.5
    """Weight of the mean square distance, in centimetres, of the head's Gaussians from where they began, in the
    direction that the face looks in: a recording from the front hardly shows it, a view from the side does."""
    residual_loss_mult: float = 1e-3
    """Weight of the mean square code of a training frame."""
    refinement_loss_mult: float = 10.0
    """Weight of the mean square correction of a training frame's poses."""

    def learning_rates(self) -> dict[str, float]:
        """Initial learning rate of each parameter group."""
        return {
            **super().learning_rates(),
            "means": 1e-4,
            "scales": 5e-3,
            "quaternions": 1e-3,
            "opacities": 2e-2,
            "colors": 3e-3,
            "codes": 5e-3,
            "networks": 1e-3,
            "backdrop": 1e-3,
            "residuals": 3e-3,
            "refinements": 2e-5,
        }


class SplatPortraitModel(PortraitModel):
    """Gaussians of head, inner mouth and torso over a background image."""

    config: SplatPortraitModelConfig
    pose_mean: Tensor
    pose_std: Tensor
    region_classes: Tensor
    lip_classes: Tensor

    def populate_modules(self) -> None:
        """Build the groups of Gaussians; `prepare_training` or a checkpoint gives them their values."""
        super().populate_modules()
        config, track = self.config, self.track
        total = min(config.max_gaussians, round(config.gaussians_per_pixel * track.width * track.height))
        channels = {**self.condition_dims, "pose": 6, "residual": config.residual_dim}
        ranks = {
            "audio": config.audio_modes,
            "eyes": config.eye_modes,
            "pose": config.pose_modes,
            "residual": config.residual_modes,
        }
        self.groups = nn.ModuleDict(
            {
                name: DeformableGaussians(
                    max(round(share * total), 1),
                    {key: channels[key] for key in _MODALITIES[name]},
                    ranks,
                    _GATED,
                    config.mode_hidden_dim,
                )
                for name, share in _SHARES.items()
            }
        )
        self.backdrop = Parameter(self.background.clone())
        self.frames = FrameResiduals(self.sequence.track.num_frames, config.residual_dim)
        codes = pose_code(self.conditioning.camera_to_worlds[torch.from_numpy(self.sequence.train_frames)])
        self.register_buffer("pose_mean", codes.mean(0), persistent=False)
        self.register_buffer("pose_std", codes.std(0).nan_to_num() + 1e-6, persistent=False)
        self.register_classes("region_classes", (*MOUTH_CLASSES, "eyes"))
        self.register_classes("lip_classes", MOUTH_CLASSES)
        self._lpips = LpipsNetwork(config.lpips_weights)
        self._density: DensityControl | None = None

    def prepare_training(self) -> None:
        """Fit the audio regression; place the Gaussians on the person."""
        super().prepare_training()
        # only here, since a trained portrait needs no image processing
        from nerfstudio_talking.model_components.initial_gaussians import initial_portrait

        every = torch.arange(self.conditioning.num_frames, device=self.device)
        conditions = {"eyes": self.conditioning.eye_condition(every).cpu().numpy()}
        if self.mouth_shape_predictor is not None:
            shape = self.mouth_shape_predictor.tracked_mouth_shape(every)
            conditions["audio"] = (
                self.mouth_shape_predictor.condition(shape, torch.zeros_like(every).bool()).cpu().numpy()
            )
        counts = tuple(self._group(name).count for name in _SHARES)
        initial = initial_portrait(self.sequence, conditions, counts, self.plane_distance, seed=0)  # type: ignore[arg-type]
        for name, values in zip(_SHARES, initial):
            self._group(name).start(values)

    def _group(self, name: str) -> DeformableGaussians:
        group = self.groups[name]
        assert isinstance(group, DeformableGaussians)
        return group

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Each attribute of the Gaussians, the modes' networks, the background, and what belongs to training frames."""
        groups = super().get_param_groups()
        layers = [self._group(name) for name in _SHARES]
        return {
            **groups,
            "means": [layer.means for layer in layers],
            "scales": [layer.log_scales for layer in layers],
            "quaternions": [layer.quaternions for layer in layers],
            "opacities": [layer.opacity_logits for layer in layers],
            "colors": [layer.colors for layer in layers],
            "codes": [p for layer in layers for p in (layer.codes, *([layer.gates] if layer.gated else []))],
            "networks": [p for layer in layers for p in layer.matrices.parameters()],
            "backdrop": [self.backdrop],
            "residuals": [self.frames.codes],
            "refinements": [self.frames.head, self.frames.body],
        }

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Relocate faded Gaussians as the training goes on."""
        optimizers, trainer = training_callback_attributes.optimizers, training_callback_attributes.trainer
        if optimizers is None or trainer is None or self.config.relocation_interval <= 0:
            return []
        self._density = density = DensityControl({name: self._group(name) for name in _SHARES})
        density.restore(optimizers.optimizers)
        last = self.config.relocation_stop * trainer.config.max_num_iterations

        def relocate(step: int) -> None:
            density.collect()
            if step > 0 and step % self.config.relocation_interval == 0 and step < last:
                density.relocate(optimizers.optimizers, seed=step)
            density.keep(optimizers.optimizers)

        return [TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], relocate, update_every_num_iters=1)]

    def background_of(self, uv: Float[Tensor, "rays 2"]) -> Float[Tensor, "rays 3"]:
        """Colours of the learned background at positions on the image plane, in [-1, 1]."""
        return F.grid_sample(self.backdrop, uv[None, None], padding_mode="border", align_corners=False)[0, :, 0].T

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:  # type: ignore[override]
        """Colour, opacity and depth (metres from the camera) of one camera (H, W, C) or several (N, H, W, C); in
        evaluation also the saliency of each modality; in training also what the regularisers read."""
        frames, row = self.frames_of(camera.times, len(camera))
        condition = self.frame_condition(frames)
        images: list[dict[str, Tensor]] = []
        with torch.autocast(self.device.type, enabled=False):
            for i in range(len(camera)):
                images.append(self._render(camera[i : i + 1], condition, int(row[i]), frames[row[i]]))
        outputs = {name: torch.stack([image[name] for image in images]) for name in images[0]}
        if len(images) == 1:
            outputs = {name: value[0] for name, value in outputs.items()}
        return outputs

    def _render(self, camera: Cameras, condition: FrameCondition, row: int, frame: Tensor) -> dict[str, Tensor]:
        pose, body = condition.poses[row], condition.body[row]
        conditions = self._conditions_of(condition, row)
        view = camera.camera_to_worlds[0].to(pose)
        if self.training:
            conditions["residual"] = self.frames.codes[frame]
            if self.config.refine_poses:
                pose, body = self.frames.refine(pose, body, frame)
                view = pose  # training cameras are the recording camera
        gaussians = self._gaussians(conditions, pose, body)
        pinhole = PinholeCamera.from_nerfstudio(camera)
        projected = project_gaussians(gaussians.means, gaussians.covariances, view, pinhole)
        colors, behind = gaussians.colors, self._backdrop_behind(camera, pinhole, view, pose)
        if not self.training:
            saliency = self._saliency()
            colors = torch.cat([colors, projected.depths[:, None], saliency], 1)
            far = behind.new_full((*behind.shape[:2], 1), self.plane_distance)
            behind = torch.cat([behind, far, far.new_zeros(*far.shape[:2], saliency.shape[1])], -1)
        density = self._density if self.training and torch.is_grad_enabled() else None
        image, alpha = rasterize(
            projected.means,
            projected.conics,
            gaussians.opacities,
            colors,
            projected.depths,
            projected.radii,
            pinhole.width,
            pinhole.height,
            behind,
            self.config.implementation,
            absgrad_of=None if density is None else projected.means,
        )
        if self.training:
            if density is not None:
                density.watch(projected.means)
            return {"rgb": image, "accumulation": alpha, **self._regularisers(frame)}
        rgb, depth, *saliency = image.split([3, 1] + [1] * (image.shape[-1] - 4), -1)
        named = {f"saliency_{name}": value for name, value in zip(_GATED, saliency)}
        return {"rgb": rgb.clamp(0.0, 1.0), "accumulation": alpha, "depth": depth, **named}

    def _conditions_of(self, condition: FrameCondition, row: int) -> dict[str, Float[Tensor, " _"]]:
        """The condition of each modality; no code of a training frame."""
        pose = condition.poses[row]
        return {
            "audio": condition.audio[row].float(),
            "eyes": condition.eyes[row],
            "pose": ((pose_code(pose[None])[0] - self.pose_mean) / self.pose_std).clamp(-3.0, 3.0),
            "residual": self.frames.codes.new_zeros(self.config.residual_dim),
        }

    def _gaussians(
        self, conditions: Mapping[str, Float[Tensor, " _"]], pose: Float[Tensor, "3 4"], body: Float[Tensor, "2 3"]
    ) -> Gaussians:
        return concatenate(
            self._group("head")(conditions),
            self._group("mouth")(conditions),
            self.torso_in_world(conditions, pose, body),
        )

    @torch.no_grad()
    def gaussians_of(self, frame: int) -> Gaussians:
        """Head, mouth and torso of a frame of the track, as evaluation renders them: head's frame, OpenGL axes, m."""
        condition = self.frame_condition(torch.tensor([frame], device=self.device))
        return self._gaussians(self._conditions_of(condition, 0), condition.poses[0], condition.body[0])

    def torso_in_world(
        self, conditions: Mapping[str, Float[Tensor, " _"]], pose: Float[Tensor, "3 4"], body: Float[Tensor, "2 3"]
    ) -> Gaussians:
        """The torso's Gaussians: deformed, moved by the body's affine motion in the image, seen from the head's frame.

        Args:
            conditions: condition of each modality.
            pose: camera-to-world of the recording camera.
            body: affine motion of the body in the image.
        """
        torso = self._group("torso")(conditions)
        return move_in_image(torso, body, self.track.camera.uv_per_metre).transform(pose)

    def _saliency(self) -> Float[Tensor, "gaussians gated"]:
        """Saliency of each gated modality for every Gaussian; zero where a group does not know the modality."""
        parts = []
        for name in _SHARES:
            group = self._group(name)
            own = group.saliency()
            columns = [
                own[:, group.gated.index(key)] if key in group.gated else own.new_zeros(group.count) for key in _GATED
            ]
            parts.append(torch.stack(columns, 1))
        return torch.cat(parts)

    def _backdrop_behind(
        self, camera: Cameras, pinhole: PinholeCamera, view: Float[Tensor, "3 4"], pose: Float[Tensor, "3 4"]
    ) -> Float[Tensor, "height width 3"]:
        """The background as a camera sees it; from the recording camera it is the image itself."""
        recording = self.track.camera.resize(*pinhole.size)
        if not self.training and (abs(recording.focal / pinhole.focal - 1) > 1e-4 or not torch.allclose(view, pose)):
            return self.background_image(camera, pose)
        image = self.backdrop
        if pinhole.size != self.track.camera.size:
            image = F.interpolate(image, (pinhole.height, pinhole.width), mode="bilinear", align_corners=False)
        return image[0].permute(1, 2, 0)

    def _regularisers(self, frame: Tensor) -> dict[str, Float[Tensor, ""]]:
        """Terms of the loss that read parameters; here, since DistributedDataParallel sees what the forward uses."""
        scales = torch.cat([self._group(name).scales() for name in _SHARES])
        logits = tuple(self._group(name).opacity_logits for name in _SHARES)
        return {
            **({"opacity": torch.cat(logits).sigmoid().mean()} if self.config.opacity_loss_mult > 0 else {}),
            "roughness": torch.stack([self._group(name).roughness() for name in _SHARES]).mean(),
            "excess_scale": F.relu(scales - self.config.max_scale).mean(),
            "depth_drift": self._group("head").depth_drift(),
            "residual": self.frames.codes[frame].square().mean(),
            "refinement": self.frames.head[frame].square().mean() + self.frames.body[frame].square().mean(),
        }

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The shared losses, SSIM, and the regularisers.

        Raises:
            TalkingError: a loss is not finite.
        """
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if not self.training:
            return losses
        config = self.config
        rendered, gt = (x.reshape(-1, *x.shape[-3:]) for x in (outputs["rgb"], batch["image"].to(self.device)))
        if config.ssim_loss_mult > 0:
            similarity = torch.stack([structural_similarity(a, b) for a, b in zip(rendered, gt)]).mean()
            losses["ssim_loss"] = config.ssim_loss_mult * (1 - similarity)
        if config.opacity_loss_mult > 0:
            losses["opacity_loss"] = config.opacity_loss_mult * outputs["opacity"].mean()
        losses["smoothness_loss"] = config.smoothness_loss_mult * outputs["roughness"].mean()
        losses["scale_loss"] = config.scale_loss_mult * outputs["excess_scale"].mean()
        losses["surface_loss"] = config.surface_loss_mult * outputs["depth_drift"].mean()
        losses["residual_loss"] = config.residual_loss_mult * outputs["residual"].mean()
        losses["refinement_loss"] = config.refinement_loss_mult * outputs["refinement"].mean()
        network = self._lpips.on(self.device) if config.lpips_loss_mult > 0 and "parsing" in batch else None
        if network is not None:
            lips = self.lip_classes[self.parsing_of(batch)].view(gt.shape[:-1])
            losses["lpips_loss"] = config.lpips_loss_mult * lips_loss(rendered, gt, lips, network)
        self.refuse_infinite(losses, batch)
        return losses

    def photometric_loss(
        self, rgb: Float[Tensor, "*pixels 3"], image: Float[Tensor, "*pixels 3"], batch: dict[str, Any]
    ) -> Float[Tensor, ""]:
        """Mean absolute error, with more weight on lips, inner mouth and eyes in training."""
        rendered, gt = rgb.reshape(-1, *rgb.shape[-2:]), image.reshape(-1, *image.shape[-2:])
        weights = torch.ones_like(gt[..., 0])
        if self.training and "parsing" in batch:
            regions = self.region_classes[self.parsing_of(batch)].view_as(weights)
            weights = weights + self.config.region_weight * regions
        share = 1 - self.config.ssim_loss_mult
        return share * weighted_absolute_error(rendered, gt, weights)
