"""Which frames and pixels to train on: more rays where viewers look, and more frames with closing eyes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES, MOUTH_CLASSES, class_mask
from nerfstudio_talking.face.regions import clip_box, mask_box

REGIONS = {"head": HEAD_CLASSES, "mouth": MOUTH_CLASSES, "eyes": ("eyes",)}
"""Boxes that rays are drawn from, besides the whole image, and the parsing classes that they enclose."""
_MARGIN = {"head": 0.03, "mouth": 0.35, "eyes": 0.25}
"""Margins of the boxes that rays are drawn from, in widths of the region."""


@dataclass(frozen=True)
class RegionShares:
    """Share of the rays drawn uniformly from each region's box; the rest comes from the whole image."""

    head: float = 0.35
    """Share of the head's box."""
    mouth: float = 0.2
    """Share of the mouth's box."""
    eyes: float = 0.1
    """Share of the eyes' box."""


def region_box(parsing: UInt8[np.ndarray, "height width"], name: str) -> Float[np.ndarray, " 4"]:
    """Box (x0, y0, x1, y1) in pixels around a region, with a margin; the whole image where the region is not seen."""
    height, width = parsing.shape
    box = mask_box(class_mask(parsing, REGIONS[name]), _MARGIN[name])
    return np.array((0, 0, width, height) if box is None else clip_box(box, height, width), dtype=np.float64)


def frame_weights(eyes: Float[np.ndarray, "frames eyes"], most: float = 4.0) -> Float[np.ndarray, " frames"]:
    """Weight with which each frame is drawn: a blink fills a few frames in a hundred and would be learned last.

    One, plus the shortfall of the more closed eye below the median in standard deviations, up to `most`.

    Args:
        eyes: eye opening of each frame.
        most: greatest addition.
    """
    opening = eyes.min(axis=1)
    shortfall = (np.median(opening) - opening) / max(float(opening.std()), 1e-3)
    return 1.0 + np.clip(shortfall, 0.0, most)


def step_generator(seed: int, step: int, rank: int, device: torch.device | str) -> torch.Generator:
    """Random generator of a training step, the same again after a resume.

    Args:
        seed: seed of the run.
        step: training step.
        rank: number of this process among several, each of which draws on its own.
        device: device of the draws.
    """
    # of the sum a CPU's generator uses 32 bits
    return torch.Generator(device).manual_seed(seed * 1_000_003 + step + rank * 0x9E3779B1)


def draw_frames(
    weights: Float[Tensor, " frames"], count: int, favour_blinks: bool, generator: torch.Generator
) -> Int64[Tensor, " drawn"]:
    """Distinct frames of a step, on the CPU.

    Args:
        weights: weight of each frame, from `frame_weights`.
        count: number of frames; all of them where there are fewer.
        favour_blinks: whether the weights are used; without, frames are drawn uniformly.
        generator: random generator on the CPU.
    """
    weights = weights.cpu()
    if not favour_blinks:
        weights = torch.ones_like(weights)
    return torch.multinomial(weights, min(count, len(weights)), generator=generator)


def sample_pixels(
    frames: Int64[Tensor, " frames"],
    boxes: dict[str, Float[Tensor, "all_frames 4"]],
    shares: RegionShares,
    rays_per_frame: int,
    width: int,
    height: int,
    generator: torch.Generator | None = None,
) -> Int64[Tensor, "rays 3"]:
    """Indices (frame, row, column), `rays_per_frame` of each frame, divided among the regions by their shares."""
    parts = []
    whole = torch.tensor([0.0, 0.0, width, height], device=frames.device).expand(len(frames), 4)
    plan = [(boxes[name][frames], int(getattr(shares, name) * rays_per_frame)) for name in REGIONS if name in boxes]
    plan.append((whole, rays_per_frame - sum(count for _, count in plan)))
    for box, count in plan:
        u = torch.rand(len(frames), count, 2, generator=generator, device=frames.device)
        at = box[:, None, :2] + u * (box[:, None, 2:] - box[:, None, :2])
        column = at[..., 0].long().clamp(0, width - 1)
        row = at[..., 1].long().clamp(0, height - 1)
        parts.append(torch.stack([frames[:, None].expand_as(row), row, column], -1))
    return torch.cat(parts, dim=1).reshape(-1, 3)


def patch_pixels(
    frame: int, box: Float[Tensor, " 4"], side: int, width: int, height: int, generator: torch.Generator | None = None
) -> Int64[Tensor, "rays 3"]:
    """Indices (frame, row, column), row by row, of a square patch inside the image whose centre lies in the box."""
    u = torch.rand(2, generator=generator)
    centre = box[:2].cpu() + u * (box[2:] - box[:2]).cpu()
    x0 = int((centre[0] - side / 2).clamp(0, max(width - side, 0)))
    y0 = int((centre[1] - side / 2).clamp(0, max(height - side, 0)))
    rows, columns = torch.meshgrid(torch.arange(y0, y0 + side), torch.arange(x0, x0 + side), indexing="ij")
    return torch.stack([torch.full_like(rows, frame), rows, columns], -1).reshape(-1, 3).to(box.device)
