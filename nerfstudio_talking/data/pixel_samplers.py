"""nerfstudio pixel samplers that know what the pixels show."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from torch import Tensor

from nerfstudio_talking.data.class_budget import class_shares, divide_rays, draw_pixels, oversampling
from nerfstudio_talking.data.ray_sampling import (
    REGIONS,
    RegionShares,
    draw_frames,
    region_box,
    sample_pixels,
    step_generator,
)
from nerfstudio_talking.dataset_io.parsing_labels import PARSING_CLASSES


@dataclass
class FramePixelSamplerConfig(PixelSamplerConfig):
    """Options of samplers that take the rays of a step from a few frames."""

    _target: type = field(default_factory=lambda: FramePixelSampler)
    """Target class to instantiate."""
    frames_per_batch: int = 8
    """Number of frames that the rays of a step come from; the audio is encoded once for each."""
    seed: int = 42
    """Seed of the draws; seed and step give the same rays again, also after a resume."""
    favour_blinks: bool = True
    """Whether frames with closing eyes are drawn more often."""


class FramePixelSampler(PixelSampler):
    """Draws uniform rays of a few frames, frames with blinks more often where asked for.

    Until `prepare` is called, as on evaluation batches, it draws as nerfstudio's own sampler does.
    """

    config: FramePixelSamplerConfig
    parsing: UInt8[Tensor, "frames height width"] | None = None
    boxes: dict[str, Float[Tensor, "frames 4"]]
    frame_weights: Float[Tensor, " frames"] | None = None
    step: int = 0
    """Training step that the next rays are drawn for."""
    rank: int = 0
    """Number of this process among several, each of which draws rays of its own."""

    def prepare(
        self, parsing: UInt8[Tensor, "frames height width"] | None, frame_weights: Float[Tensor, " frames"]
    ) -> None:
        """Take the training frames' parsing maps and the weight of each frame."""
        self.parsing, self.frame_weights = parsing, frame_weights
        self.boxes = {}
        if parsing is None:
            return
        maps = parsing.cpu().numpy()
        for name in REGIONS:
            with ThreadPoolExecutor() as pool:
                table = np.stack(list(pool.map(lambda ids, name=name: region_box(ids, name), maps)))
            self.boxes[name] = torch.from_numpy(table).float().to(parsing.device)

    def generator(self, device: torch.device | str) -> torch.Generator:
        """The random generator of this step."""
        return step_generator(self.config.seed, self.step, self.rank, device)

    def sample_method(
        self,
        batch_size: int,
        num_images: int,
        image_height: int,
        image_width: int,
        mask: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> Int64[Tensor, "rays 3"]:
        """Indices (frame, row, column); a few rays fewer than asked for where the frames do not divide them."""
        if self.frame_weights is None:
            return super().sample_method(batch_size, num_images, image_height, image_width, mask, device)
        config = self.config
        frames = draw_frames(self.frame_weights, config.frames_per_batch, config.favour_blinks, self.generator("cpu"))
        return self.draw(frames.to(device), batch_size // len(frames), image_height, image_width)

    def draw(self, frames: Int64[Tensor, " frames"], rays: int, height: int, width: int) -> Int64[Tensor, "rays 3"]:
        """Indices (frame, row, column) of `rays` rays of each of these frames."""
        generator = self.generator(frames.device)
        return sample_pixels(frames, {}, RegionShares(0, 0, 0), rays, width, height, generator)

    def batch_statistics(self) -> dict[str, Tensor]:
        """What the losses have to know of how the last rays were drawn, by its name in the batch."""
        return {}


@dataclass
class RegionPixelSamplerConfig(FramePixelSamplerConfig):
    """Options of the sampler by region."""

    _target: type = field(default_factory=lambda: RegionPixelSampler)
    """Target class to instantiate."""
    head_share: float = 0.35
    """Share of the rays drawn from the head's box."""
    mouth_share: float = 0.2
    """Share of the rays drawn from the mouth's box."""
    eyes_share: float = 0.1
    """Share of the rays drawn from the eyes' box."""


class RegionPixelSampler(FramePixelSampler):
    """Draws fixed shares of the rays from the boxes of head, mouth and eyes."""

    config: RegionPixelSamplerConfig

    def draw(self, frames: Int64[Tensor, " frames"], rays: int, height: int, width: int) -> Int64[Tensor, "rays 3"]:
        """Indices (frame, row, column) of `rays` rays of each of these frames, divided among the regions."""
        shares = RegionShares(self.config.head_share, self.config.mouth_share, self.config.eyes_share)
        return sample_pixels(frames, self.boxes, shares, rays, width, height, self.generator(frames.device))


@dataclass
class SemanticPixelSamplerConfig(FramePixelSamplerConfig):
    """Options of SSP-NeRF's sampler."""

    _target: type = field(default_factory=lambda: SemanticPixelSampler)
    """Target class to instantiate."""
    uniform_share: float = 0.5
    """Share of the rays drawn uniformly over the image; the rest is divided among the parsing classes."""
    floor: float = 0.3
    """Part of the rays by class that is divided equally, whatever the loss."""
    uniform: bool = False
    """Whether all rays are drawn uniformly, for comparison."""


class SemanticPixelSampler(FramePixelSampler):
    """Draws rays by parsing class, more of the classes with a large running loss (see class_budget.py).

    The running loss belongs to the model, whose checkpoint keeps it; the pipeline connects the two by `follow`.
    """

    config: SemanticPixelSamplerConfig
    loss: Float[Tensor, " classes"] | None = None
    """Running loss of each class; all classes count alike without."""
    _statistics: dict[str, Tensor]

    def follow(self, loss: Float[Tensor, " classes"]) -> None:
        """Read the running loss of each class from this tensor, now and as it changes."""
        self.loss = loss

    def shares(self) -> Float[Tensor, " classes"]:
        """Share of the rays by class that each class should get at present."""
        loss = self.loss if self.loss is not None else torch.ones(len(PARSING_CLASSES))
        return class_shares(loss, self.config.floor)

    def draw(self, frames: Int64[Tensor, " frames"], rays: int, height: int, width: int) -> Int64[Tensor, "rays 3"]:
        """Indices (frame, row, column) of `rays` rays of each of these frames, divided among the classes."""
        self._statistics = {}
        if self.parsing is None or self.config.uniform:
            return super().draw(frames, rays, height, width)
        ids = self.parsing[frames].flatten(1).long()
        shares = self.shares().to(ids.device)
        pixels = torch.zeros(len(frames), len(shares), dtype=torch.long, device=ids.device)
        pixels.scatter_add_(1, ids, torch.ones_like(ids))
        budget = divide_rays(shares, pixels, rays, self.config.uniform_share)
        self._statistics = {
            "class_shares": budget.sum(0) / budget.sum(),
            "class_oversampling": oversampling(budget, pixels),
        }
        row, pixel = draw_pixels(ids, budget, self.generator(ids.device))
        return torch.stack([frames[row], pixel // width, pixel % width], -1)

    def batch_statistics(self) -> dict[str, Tensor]:
        """`class_shares`, the share of the last rays that each class got, and `class_oversampling`, its frequency among
        them over that among the pixels; nothing where the rays were drawn uniformly."""
        return self._statistics
