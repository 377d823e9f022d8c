"""Whole frames per step from the frame cache, for portraits that are rendered as images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras

from nerfstudio_talking.data.cached_datamanager import CachedDataManager, CachedDataManagerConfig
from nerfstudio_talking.data.frame_rarity import rarity_weights
from nerfstudio_talking.data.ray_sampling import draw_frames, step_generator


@dataclass
class FullImageDataManagerConfig(CachedDataManagerConfig):
    """Options of the datamanager that draws whole frames."""

    _target: type = field(default_factory=lambda: FullImageDataManager)
    """Target class to instantiate."""
    frames_per_step: int = 1
    """Number of frames per training step, all different."""
    seed: int = 42
    """Seed of the draws; seed and step give the same frames again, also after a resume."""
    favour: Literal["blinks", "rare", "none"] = "blinks"
    """Frames that are drawn more often: those with closing eyes ('blinks'), 'rare' ones by how seldom their lip and eye
    opening occur, or none."""


class FullImageDataManager(CachedDataManager):
    """Draws whole frames with their cameras, as nerfstudio's FullImageDatamanager does, from the uint8 cache."""

    config: FullImageDataManagerConfig

    def setup_train(self) -> None:
        """Fill the cache, weigh the frames, and take the cameras to the device."""
        super().setup_train()
        assert self.train_dataset is not None
        if self.config.favour == "rare":
            track = self.train_dataset.sequence.track
            frames = [self.train_dataset.track_frame(index) for index in range(len(self.train_dataset))]
            weights = rarity_weights(track.eyes[frames], None if track.lips is None else track.lips[frames])
            self._frame_weights = torch.from_numpy(weights).float()
        self._cameras = self.train_dataset.cameras.to(self.device)

    def next_train(self, step: int) -> tuple[Cameras, dict[str, Any]]:  # type: ignore[override]
        """Frames drawn by seed, step and process alone.

        Returns:
            The cameras (frames,) with their times, and a batch of `image` in [0, 1], `parsing` class ids where the clip
            has them and `image_idx`, positions among the training frames: for one frame (H, W, 3), (H, W, 1) and an
            int, for more (N, H, W, 3), (N, H, W, 1) and (N,).
        """
        self.train_count += 1
        config = self.config
        generator = step_generator(config.seed, step, self.rank, "cpu")
        frames = draw_frames(self._frame_weights, config.frames_per_step, config.favour != "none", generator)
        on_device = frames.to(self._frames.device)
        batch: dict[str, Any] = {"image": self._frames.images(on_device), "image_idx": frames}
        if self._parsing is not None:
            batch["parsing"] = self._parsing[on_device].long()[..., None]
        if len(frames) == 1:
            batch = {name: value[0] for name, value in batch.items()} | {"image_idx": int(frames[0])}
        return self._cameras[on_device], batch

    def next_eval(self, step: int) -> tuple[Cameras, dict[str, Any]]:  # type: ignore[override]
        """A random evaluation frame, since such a portrait renders no single rays."""
        self.eval_count += 1
        return self.next_eval_image(step)

    def get_train_rays_per_batch(self) -> int:
        """Number of pixels of a training step."""
        return self.config.frames_per_step * self._frames.height * self._frames.width

    def get_eval_rays_per_batch(self) -> int:
        """Number of pixels of an evaluation step."""
        return self._frames.height * self._frames.width
