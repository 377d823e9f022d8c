"""What the datamanagers of portraits share: all training frames in a uint8 cache, and nerfstudio's evaluation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.utils import comms
from PIL import Image
from torch import Tensor

from nerfstudio_talking.data.frame_cache import FrameCache
from nerfstudio_talking.data.ray_sampling import frame_weights
from nerfstudio_talking.data.talking_dataset import TalkingDataset
from nerfstudio_talking.io.console import CONSOLE


@dataclass
class CachedDataManagerConfig(VanillaDataManagerConfig):
    """Options of datamanagers with a frame cache."""

    cache_gigabytes: float = 4.0
    """Gigabytes that the frames may take in full colours; a longer clip keeps chroma at half the resolution."""
    eval_num_images_to_sample_from: int = 4
    """Number of evaluation frames held as floats."""
    eval_num_times_to_repeat_images: int = 50
    """Number of steps before other evaluation frames are taken."""
    eval_num_rays_per_batch: int = 4096
    """Number of rays per evaluation step."""


class CachedDataManager(VanillaDataManager[TalkingDataset]):
    """Keeps every training frame and parsing map as uint8 on the device. Subclasses draw from them in `next_train`."""

    config: CachedDataManagerConfig

    def __init__(self, config: CachedDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        factor = getattr(config.dataparser, "downscale_factor", None)
        if factor is not None:
            config = replace(config, camera_res_scale_factor=config.camera_res_scale_factor / factor)
        super().__init__(config, *args, **kwargs)
        if self.test_mode != "val":  # what `ns-render dataset` shows; training reads the class ids
            for dataset in (self.train_dataset, self.eval_dataset):
                if dataset is not None:
                    dataset.shows_colours = True

    def setup_train(self) -> None:
        """Fill the cache; files are read by threads, since decoding releases the interpreter's lock."""
        assert self.train_dataset is not None
        dataset = self.train_dataset
        height, width = int(dataset.cameras.height[0].item()), int(dataset.cameras.width[0].item())
        count = len(dataset)
        self._frames = FrameCache(count, height, width, int(self.config.cache_gigabytes * 1e9))
        self._parsing: Tensor | None = None
        if dataset.sequence.parsing_paths is not None:
            self._parsing = torch.empty(count, height, width, dtype=torch.uint8)
        halved = ", chroma at half the resolution" if self._frames.halved else ""
        CONSOLE.print(
            f"Caching {count} frames of {width}x{height} as uint8 ({self.cache_bytes() / 1e6:.0f} MB{halved})"
        )

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
        self._frame_weights = torch.from_numpy(frame_weights(dataset.sequence.track.eyes[frames])).float()

    def cache_bytes(self) -> int:
        """Number of bytes that frames and parsing maps take."""
        return self._frames.nbytes + (0 if self._parsing is None else self._parsing.nbytes)

    @property
    def rank(self) -> int:
        """Number of this process among several, each of which draws on its own."""
        return comms.get_rank()
