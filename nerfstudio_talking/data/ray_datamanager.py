"""Rays of a few frames per step from a uint8 cache."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.model_components.ray_generators import RayGenerator
from nerfstudio.utils import comms
from PIL import Image
from torch import Tensor

from nerfstudio_talking.data.frame_cache import FrameCache
from nerfstudio_talking.data.pixel_samplers import FramePixelSampler, FramePixelSamplerConfig, RegionPixelSamplerConfig
from nerfstudio_talking.data.ray_sampling import frame_weights, patch_pixels
from nerfstudio_talking.data.talking_dataset import TalkingDataset
from nerfstudio_talking.io.console import CONSOLE


@dataclass
class TalkingDataManagerConfig(VanillaDataManagerConfig):
    """Options of the talking datamanager."""

    _target: type = field(default_factory=lambda: TalkingDataManager)
    """Target class to instantiate."""
    train_num_rays_per_batch: int = 4096
    """Rays per training step."""
    pixel_sampler: FramePixelSamplerConfig = field(default_factory=RegionPixelSamplerConfig)
    """Which pixels to train on."""
    lips_phase_start: int | None = None
    """Step from which every second step trains on patches about the mouth; the trainer fills it in."""
    lips_patch_size: int = 32
    """Side of these patches in pixels; as many as fit into a step's rays."""
    cache_gigabytes: float = 4.0
    """Memory that the frames may take in whole colours; a longer clip keeps chroma at half the resolution."""
    eval_num_images_to_sample_from: int = 4
    """Evaluation frames held as floats."""
    eval_num_times_to_repeat_images: int = 50
    """Steps before other evaluation frames are taken."""
    eval_num_rays_per_batch: int = 4096
    """Rays per evaluation step."""


class TalkingDataManager(VanillaDataManager[TalkingDataset]):
    """Keeps every training frame and parsing map as uint8 on the device and draws rays where they matter."""

    config: TalkingDataManagerConfig

    def setup_train(self) -> None:
        """Fill the cache; read files with threads, since decoding releases the interpreter's lock."""
        assert self.train_dataset is not None
        dataset = self.train_dataset
        height, width = int(dataset.cameras.height[0].item()), int(dataset.cameras.width[0].item())
        count = len(dataset)
        self._frames = FrameCache(count, height, width, int(self.config.cache_gigabytes * 1e9))
        self._parsing: Tensor | None = None
        if dataset.sequence.parsing_paths is not None:
            self._parsing = torch.empty(count, height, width, dtype=torch.uint8)
        size = self._frames.nbytes + (0 if self._parsing is None else self._parsing.nbytes)
        halved = ", chroma at half the resolution" if self._frames.halved else ""
        CONSOLE.print(f"Caching {count} frames of {width}x{height} as uint8 ({size / 1e6:.0f} MB{halved})")

        def fill(index: int) -> None:
            with Image.open(dataset.image_filenames[index]) as file:
                image = file.convert("RGB")
                if image.size != (width, height):
                    image = image.resize((width, height), Image.Resampling.BILINEAR)
                self._frames.put(index, image)
            ids = dataset.parsing(index)
            if ids is not None and self._parsing is not None:
                self._parsing[index] = torch.from_numpy(ids)

        with ThreadPoolExecutor() as pool:
            list(pool.map(fill, range(count)))
        self._frames.to(self.device)
        if self._parsing is not None:
            self._parsing = self._parsing.to(self.device)
        frames = [dataset.track_frame(index) for index in range(count)]
        weights = torch.from_numpy(frame_weights(dataset.sequence.track.eyes[frames])).float()
        self.sampler = self.config.pixel_sampler.setup(num_rays_per_batch=self.config.train_num_rays_per_batch)
        assert isinstance(self.sampler, FramePixelSampler)
        self.sampler.prepare(self._parsing, weights)
        self.sampler.rank = comms.get_rank()
        self.train_ray_generator = RayGenerator(dataset.cameras.to(self.device))

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Any]]:
        """The sampler's rays; in the lips phase every second step gives patches about the mouth."""
        self.train_count += 1
        config = self.config
        count, height, width = self._frames.count, self._frames.height, self._frames.width
        extra: dict[str, Any] = {}
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
            extra["patch_size"] = side
        else:
            indices = sampler.sample_method(
                config.train_num_rays_per_batch, count, height, width, device=self._frames.device
            )
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
        """Rays of a training step."""
        return self.config.train_num_rays_per_batch
