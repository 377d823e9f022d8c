"""Portraits that are rendered along rays: a conditioned radiance field with an occupancy grid, and its losses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.utils.external import TCNN_EXISTS
from torch import Tensor
from torch.nn import Parameter

from nerfstudio_talking.cameras.image_plane import plane_positions
from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES
from nerfstudio_talking.field_components.hash_planes import HashPlanes, Implementation
from nerfstudio_talking.field_components.region_saliency import RegionModule
from nerfstudio_talking.fields.conditioned_field import ConditionedField
from nerfstudio_talking.model_components.losses import LpipsNetwork, opacity_entropy, patch_loss, rays_to_patches
from nerfstudio_talking.model_components.occupancy_grid import OccupancyGrid
from nerfstudio_talking.model_components.renderers import over
from nerfstudio_talking.model_components.surface_prior import SurfacePrior, surface_prior
from nerfstudio_talking.model_components.volume_renderer import FrameRays
from nerfstudio_talking.models.portrait_model import PortraitModel, PortraitModelConfig


@dataclass
class VolumePortraitModelConfig(PortraitModelConfig):
    """Options of every portrait that is a volume."""

    eval_num_rays_per_chunk: int = 1 << 16
    """Number of rays rendered at a time; a CPU is quickest with what its caches hold, a GPU with more."""
    region_module: RegionModule = "external"
    """How a modality is weighted over space: 'external' is external attention with the condition (Wang et al. 2025),
    'mlp' is ER-NeRF's network, 'concat' is no weighting."""
    num_levels: int = 12
    """Number of levels of the volume's hash planes."""
    log2_table_size: int = 14
    """Base-2 logarithm of the largest hash table of a level."""
    max_resolution: int = 512
    """Number of cells along an axis of the finest level of the volume's hash planes."""
    hidden_dim: int = 64
    """Width of the volume's networks."""
    direction_levels: int = 2
    """Degree of the spherical harmonics of the view direction."""
    implementation: Implementation = "auto"
    """Implementation of hash planes and region modules; 'auto' takes the fastest that is installed for the device."""
    num_samples: int = 48
    """Number of uniform samples per ray through the volume's box; samples in empty cells are skipped."""
    occupancy_resolution: int = 48
    """Number of cells of the occupancy grid along an axis."""
    occupancy_interval: int = 128
    """Number of steps between refreshes of the occupancy grid."""
    occupancy_threshold: float = 0.02
    """Rendering weight of a sample below which its cell counts as empty."""
    mask_loss_mult: float = 0.02
    """Weight of the cross-entropy between the opacity of the layers and the parsing."""
    entropy_loss_mult: float = 1e-3
    """Weight of the entropy of the volume's opacity (encourages opaque or empty rays)."""
    depth_variance_loss_mult: float = 0.2
    """Weight of the variance of depth along a ray, in units of the box's depth squared (encourages a thin surface)."""
    surface_loss_mult: float = 0.01
    """Weight of the distance from where rays of the head end to the tracked face, completed to the head's outline."""
    parsing_branch: bool = False
    """Whether the parsing loss teaches the volume's features; without, the labels are only read off them."""
    semantic_loss_mult: float = 0.01
    """Weight of the cross-entropy of the parsing labels."""
    patch_loss_mult: float = 0.02
    """Weight of LPIPS, or of 1 - SSIM where LPIPS has no weights, on mouth patches in the lips phase."""
    lpips_weights: Path | None = None
    """Torchvision's AlexNet for LPIPS in the lips phase; the torch cache is searched where not given."""

    def learning_rates(self) -> dict[str, float]:
        """Initial learning rate of each parameter group; hash tables learn fast, networks slowly."""
        return {**super().learning_rates(), "tables": 1e-2, "networks": 2e-3}


class VolumePortraitModel(PortraitModel):
    """A portrait with a radiance field. Subclasses build `field` and say which layers there are and how they meet."""

    config: VolumePortraitModelConfig
    field: ConditionedField
    head_classes: Tensor

    def populate_modules(self) -> None:
        """Build the occupancy grid; subclasses build the field."""
        super().populate_modules()
        self.occupancy = OccupancyGrid(self.config.occupancy_resolution, self.config.occupancy_threshold)
        self._lpips = LpipsNetwork(self.config.lpips_weights)
        self.surface: SurfacePrior | None = None
        """The head's tracked surface, in training."""
        self.register_classes("head_classes", HEAD_CLASSES)

    def prepare_training(self) -> None:
        """Fit the audio regression, and take the head's surface from the tracked face."""
        super().prepare_training()
        prior = surface_prior(self.sequence) if self.config.surface_loss_mult > 0 else None
        self.surface = None if prior is None else prior.to(self.device)

    @property
    def mlp_implementation(self) -> Literal["tcnn", "torch"]:
        """Implementation of nerfstudio's networks."""
        return "tcnn" if TCNN_EXISTS and torch.cuda.is_available() else "torch"

    def make_field(
        self,
        box: Float[Tensor, "2 3"],
        ellipsoids: Float[Tensor, "ellipsoids 2 3"],
    ) -> ConditionedField:
        """Build the field for the configured conditions.

        Args:
            box: corners of the volume's box, metres.
            ellipsoids: centre and radii, metres, of the ellipsoids that the density starts from.
        """
        config = self.config
        return ConditionedField(
            box,
            self.condition_dims,
            ellipsoids,
            parsing_branch=config.parsing_branch,
            region_module=config.region_module,
            num_levels=config.num_levels,
            log2_table_size=config.log2_table_size,
            max_resolution=config.max_resolution,
            hidden_dim=config.hidden_dim,
            direction_levels=config.direction_levels,
            implementation=config.implementation,
            mlp_implementation=self.mlp_implementation,
        )

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Hash tables, the audio condition's networks, and all other networks."""
        groups = super().get_param_groups()
        groups["tables"] = [module.table for module in self.modules() if isinstance(module, HashPlanes)]
        apart = {id(p) for p in [*groups["tables"], *groups.get("audio", []), self.device_indicator_param]}
        groups["networks"] = [p for p in self.parameters() if id(p) not in apart]
        return groups

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Refresh the occupancy grid as the training goes on."""
        return [
            TrainingCallback(
                where_to_run=[TrainingCallbackLocation.BEFORE_TRAIN_ITERATION],
                update_every_num_iters=self.config.occupancy_interval,
                func=lambda step: self.occupancy.refresh() if step > 0 else None,
            )
        ]

    def render_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """The outputs (height, width, channels) of one camera, rendered along its rays in chunks."""
        rays = camera.generate_rays(camera_indices=0, keep_shape=True, obb_box=obb_box)
        return self.get_outputs_for_camera_ray_bundle(rays)

    def frame_rays(self, ray_bundle: RayBundle) -> FrameRays:
        """Rays with the conditions of the frames that their times mean."""
        origins, directions = ray_bundle.origins, ray_bundle.directions
        frames, frame_of_ray = self.frames_of(ray_bundle.times, len(origins))
        condition = self.frame_condition(frames)
        poses = condition.poses[frame_of_ray]
        uv = plane_positions(origins, directions, poses, self.plane_distance, self.track.camera)
        return FrameRays(origins, directions, condition, frame_of_ray, uv)

    def depth_before_plane(self, outputs: dict[str, Tensor]) -> Float[Tensor, "rays 1"]:
        """Depth of the volume over the image plane behind it, metres from the camera."""
        accumulation = outputs["accumulation"]
        return over(outputs["depth"], accumulation, torch.full_like(accumulation, self.plane_distance))

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The shared losses; in training also opacity entropy, depth variance and the distance to the head's surface,
        and on patches the patch loss."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if not self.training:
            return losses
        config = self.config
        losses["entropy_loss"] = config.entropy_loss_mult * opacity_entropy(outputs["accumulation"][:, 0])
        losses["depth_variance_loss"] = config.depth_variance_loss_mult * outputs["depth_variance"].mean()
        if self.surface is not None and "parsing" in batch:
            is_head = self.head_classes[self.parsing_of(batch)]
            weights = is_head * outputs["accumulation"][:, 0].detach()
            losses["surface_loss"] = config.surface_loss_mult * self.surface(outputs["end"], weights)
        if "patch_size" in batch:
            side = int(batch["patch_size"])
            rendered, gt = (rays_to_patches(x, side) for x in (outputs["rgb"], batch["image"].to(self.device)))
            losses["patch_loss"] = config.patch_loss_mult * patch_loss(rendered, gt, self._lpips.on(self.device))
        self.refuse_infinite(losses, batch)
        return losses
