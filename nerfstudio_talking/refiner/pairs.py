"""Rendered and true frames of clips, as what the refiner learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from nerfstudio_talking.refiner.area import WHOLE, Area, area_pixels
from nerfstudio_talking.refiner.network import Batch
from nerfstudio_talking.refiner.windows import stack_windows, to_network


@dataclass(frozen=True)
class PairedClip:
    """One clip, rendered and true, frame by frame."""

    rendered: UInt8[Tensor, "frames height width 3"]
    truth: UInt8[Tensor, "train height width 3"]
    """The true frames of `frames`."""
    frames: Int64[np.ndarray, " train"]
    """Numbers of the frames to train on."""
    identity: Float32[Tensor, "train identity"]
    """Identity features of the true frames."""
    mouths: Float32[Tensor, "train 4"]
    """Left, top, right, bottom of the mouth in the true frames, pixels."""
    area: Area = WHOLE
    """What is learned of the picture."""

    def __post_init__(self) -> None:
        counts = {len(self.truth), len(self.frames), len(self.identity), len(self.mouths)}
        if len(counts) != 1 or self.truth.shape[1:] != self.rendered.shape[1:]:
            shapes = f"{tuple(self.truth.shape)} and {tuple(self.rendered.shape)}"
            raise ValueError(f"{counts} frames of {shapes} are no pairs")


def draw_batch(
    clips: list[PairedClip], step: int, size: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Batch:
    """Random training windows with their truth, from a clip drawn by its length.

    The draw depends on the seed and the step alone: a resumed training goes on as it would have.

    Args:
        clips: what to draw from.
        step: of the training.
        size: windows in the batch, all from one clip, since clips differ in size.
        seed: of the training.
        device: of the batch.
    """
    rng = np.random.default_rng((seed, step))
    lengths = np.array([len(clip.frames) for clip in clips], dtype=np.float64)
    clip = clips[int(rng.choice(len(clips), p=lengths / lengths.sum()))]
    chosen = rng.choice(len(clip.frames), min(size, len(clip.frames)), replace=False)
    frames, index = torch.from_numpy(clip.frames[chosen]), torch.from_numpy(chosen)
    height, width = clip.truth.shape[1:3]
    rows, columns = area_pixels(clip.area, height, width)
    pictures = (
        stack_windows(clip.rendered, frames),
        to_network(clip.truth[index]).permute(0, 3, 1, 2),
        filled_boxes(clip.mouths[index], height, width),
    )
    window, truth, mouth = (picture[..., rows, columns].contiguous().to(device) for picture in pictures)
    return Batch(window, truth, clip.identity[index].to(device), mouth)


def filled_boxes(boxes: Float32[Tensor, "batch 4"], height: int, width: int) -> Float32[Tensor, "batch 1 height width"]:
    """1 where a pixel's middle lies in a box (left, top, right, bottom), 0 elsewhere."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    across, down = (x >= left) & (x < right), (y >= top) & (y < bottom)
    return (down[:, :, None] & across[:, None, :]).float()[:, None]
