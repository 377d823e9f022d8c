"""Rays of a few frames per step from the frame cache, for portraits that are rendered along rays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.ray_generators import RayGenerator

from nerfstudio_talking.data.cached_datamanager import CachedDataManager, CachedDataManagerConfig
from nerfstudio_talking.data.pixel_samplers import FramePixelSampler, FramePixelSamplerConfig, RegionPixelSamplerConfig
from nerfstudio_talking.data.ray_sampling import patch_pixels


@dataclass
class RayDataManagerConfig(CachedDataManagerConfig):
    """Options of the datamanager that draws rays."""

    _target: type = field(default_factory=lambda: RayDataManager)
    """Target class to instantiate."""
    train_num_rays_per_batch: int = 4096
    """Number of rays per training step."""
    pixel_sampler: FramePixelSamplerConfig = field(default_factory=RegionPixelSamplerConfig)
    """Sampler that chooses which pixels to train on."""
    lips_phase_start: int | None = None
    """Step from which every second step trains on patches of the mouth; the trainer fills it in where not given."""
    lips_patch_size: int = 32
    """Side of these patches in pixels; a step takes as many as fit into its rays."""


class RayDataManager(CachedDataManager):
    """Draws the rays of a step from a few cached frames, by the configured pixel sampler."""

    config: RayDataManagerConfig

    def setup_train(self) -> None:
        """Fill the cache and prepare the pixel sampler."""
        super().setup_train()
        assert self.train_dataset is not None
        self.sampler = self.config.pixel_sampler.setup(num_rays_per_batch=self.config.train_num_rays_per_batch)
        assert isinstance(self.sampler, FramePixelSampler)
        self.sampler.prepare(self._parsing, self._frame_weights)
        self.sampler.rank = self.rank
        self.train_ray_generator = RayGenerator(self.train_dataset.cameras.to(self.device))

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Any]]:
        """The sampler's rays; in the lips phase every second step gives patches of the mouth.

        Returns:
            The rays, and a batch of `indices` (rays, 3), `image` (rays, 3) in [0, 1], `parsing` (rays,) class ids where
            the clip has them, `patch_size` where the rays are square patches, and the sampler's statistics.
        """
        self.train_count += 1
        config = self.config
        count, height, width = self._frames.count, self._frames.height, self._frames.width
        side = min(config.lips_patch_size, height, width)
        lips_phase = config.lips_phase_start is not None and step >= config.lips_phase_start
        sampler = self.sampler
        sampler.step = step
        if lips_phase and step % 2 == 1 and "mouth" in sampler.boxes:
            generator = sampler.generator("cpu")
            chosen = torch.randint(count, (max(config.train_num_rays_per_batch // side**2, 1),), generator=generator)
            mouth = sampler.boxes["mouth"]
            patches = [patch_pixels(i, mouth[i], side, width, height, generator) for i in chosen.tolist()]
            indices = torch.cat(patches)
            extra: dict[str, Any] = {"patch_size": side}
        else:
            indices = sampler.sample_method(
                config.train_num_rays_per_batch, count, height, width, device=self._frames.device
            )
            extra = dict(sampler.batch_statistics())
        frame, row, column = indices.unbind(-1)
        batch: dict[str, Any] = {
            "indices": indices,
            "image": self._frames.colours(frame, row, column),
            **extra,
        }
        if self._parsing is not None:
            batch["parsing"] = self._parsing[frame, row, column]
        return self.train_ray_generator(indices), batch

    def get_train_rays_per_batch(self) -> int:
        """Number of rays of a training step."""
        return self.config.train_num_rays_per_batch
