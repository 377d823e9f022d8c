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
from nerfstudio_talking.data.ray_sampling import REGIONS, RegionShares, region_box, sample_pixels
from nerfstudio_talking.dataset_io.parsing_labels import PARSING_CLASSES


@dataclass
class FramePixelSamplerConfig(PixelSamplerConfig):
    """Options of samplers that take the rays of a step from a few frames."""

    _target: type = field(default_factory=lambda: FramePixelSampler)
    """Target class to instantiate."""
    frames_per_batch: int = 8
    """Frames that the rays of a step come from: the audio is encoded once for each."""
    seed: int = 42
    """Of the draws: with the step it gives the same rays again, also after a resume."""
    favour_blinks: bool = True
    """Whether frames with closing eyes are drawn more often."""


class FramePixelSampler(PixelSampler):
    """Uniform rays of a few frames, frames with blinks more often where asked for.

    Until `prepare` is called, as on evaluation batches, it draws as nerfstudio's own does.
    """

    config: FramePixelSamplerConfig
    parsing: UInt8[Tensor, "frames height width"] | None = None
    boxes: dict[str, Float[Tensor, "frames 4"]]
    frame_weights: Float[Tensor, " frames"] | None = None
    step: int = 0
    rank: int = 0
    """Of this process among several, each of which draws rays of its own."""

    def prepare(
        self, parsing: UInt8[Tensor, "frames height width"] | None, frame_weights: Float[Tensor, " frames"]
    ) -> None:
        """Take the training frames' parsing maps and how often to draw each frame."""
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
        """The draws of this step."""
        seed = self.config.seed * 1_000_003 + self.step + self.rank * 0x9E3779B1  # of which 32 bits count on a CPU
        return torch.Generator(device).manual_seed(seed)

    def sample_method(
        self,
        batch_size: int,
        num_images: int,
        image_height: int,
        image_width: int,
        mask: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> Int64[Tensor, "rays 3"]:
        """Indices (frame, row, column); a few rays fewer than asked where they do not divide among the frames."""
        if self.frame_weights is None:
            return super().sample_method(batch_size, num_images, image_height, image_width, mask, device)
        count = min(self.config.frames_per_batch, num_images)
        chooser = self.generator("cpu")
        weights = self.frame_weights.cpu()
        if not self.config.favour_blinks:
            weights = torch.ones_like(weights)
        frames = torch.multinomial(weights, count, generator=chooser).to(device)
        return self.draw(frames, batch_size // count, image_height, image_width)

    def draw(self, frames: Int64[Tensor, " frames"], rays: int, height: int, width: int) -> Int64[Tensor, "rays 3"]:
        """So many rays of each of these frames."""
        generator = self.generator(frames.device)
        return sample_pixels(frames, {}, RegionShares(0, 0, 0), rays, width, height, generator)


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
    """Fixed shares of the rays for the boxes of head, mouth and eyes."""

    config: RegionPixelSamplerConfig

    def draw(self, frames: Int64[Tensor, " frames"], rays: int, height: int, width: int) -> Int64[Tensor, "rays 3"]:
        """So many rays of each of these frames, divided among the regions."""
        shares = RegionShares(self.config.head_share, self.config.mouth_share, self.config.eyes_share)
        return sample_pixels(frames, self.boxes, shares, rays, width, height, self.generator(frames.device))


@dataclass
class SemanticPixelSamplerConfig(FramePixelSamplerConfig):
    """Options of SSP-NeRF's sampler."""

    _target: type = field(default_factory=lambda: SemanticPixelSampler)
    """Target class to instantiate."""
    even: float = 0.5
    """Part of the rays drawn evenly over the image; the rest goes by class."""
    floor: float = 0.3
    """Part of the rays by class that is divided equally, whatever the loss."""
    relevance_share: float = 0.0
    """Part of the rays by class that follows how much the audio changes each class."""
    uniform: bool = False
    """Whether every pixel is as likely as any other, for comparison."""


class SemanticPixelSampler(FramePixelSampler):
    """Rays divided among the parsing classes by their running loss (see class_budget.py).

    The loss belongs to the model, whose checkpoint keeps it: `follow` connects the two.
    """

    config: SemanticPixelSamplerConfig
    loss: Float[Tensor, " classes"] | None = None
    relevance: Float[Tensor, " classes"] | None = None
    drawn: Float[Tensor, " classes"] | None = None
    """Share of the last rays that each class got."""
    oversampling: Float[Tensor, " classes"] | None = None
    """How much more often than its pixels each class was among the last rays."""

    def follow(self, loss: Float[Tensor, " classes"], relevance: Float[Tensor, " classes"]) -> None:
        """Read the running loss and relevance of each class from these tensors, now and as they change."""
        self.loss, self.relevance = loss, relevance

    def shares(self) -> Float[Tensor, " classes"]:
        """Share of the rays by class that each class ought to get at present."""
        loss = self.loss if self.loss is not None else torch.ones(len(PARSING_CLASSES))
        return class_shares(loss, self.relevance, self.config.relevance_share, self.config.floor)

    def draw(self, frames: Int64[Tensor, " frames"], rays: int, height: int, width: int) -> Int64[Tensor, "rays 3"]:
        """So many rays of each of these frames, divided among the classes."""
        if self.parsing is None or self.config.uniform:
            return super().draw(frames, rays, height, width)
        ids = self.parsing[frames].flatten(1).long()
        shares = self.shares().to(ids.device)
        pixels = torch.zeros(len(frames), len(shares), dtype=torch.long, device=ids.device)
        pixels.scatter_add_(1, ids, torch.ones_like(ids))
        budget = divide_rays(shares, pixels, rays, self.config.even)
        self.drawn = budget.sum(0) / budget.sum()
        self.oversampling = oversampling(budget, pixels)
        row, pixel = draw_pixels(ids, budget, self.generator(ids.device))
        return torch.stack([frames[row], pixel // width, pixel % width], -1)
