"""Rendered and true frames of clips, as what the refiner learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

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
    boxes: Float32[Tensor, "train 2 4"]
    """Left, top, right, bottom, pixels, of the face and of the mouth in the true frames."""

    def __post_init__(self) -> None:
        counts = {len(self.truth), len(self.frames), len(self.identity), len(self.boxes)}
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
    rows = rng.choice(len(clip.frames), min(size, len(clip.frames)), replace=False)
    frames = torch.from_numpy(clip.frames[rows])
    index = torch.from_numpy(rows)
    height, width = clip.truth.shape[1:3]
    face, mouth = (filled_boxes(clip.boxes[index, k], height, width).to(device) for k in range(2))
    return Batch(
        stack_windows(clip.rendered, frames).to(device),
        to_network(clip.truth[index]).permute(0, 3, 1, 2).to(device),
        clip.identity[index].to(device),
        face,
        mouth,
    )


def filled_boxes(boxes: Float32[Tensor, "batch 4"], height: int, width: int) -> Float32[Tensor, "batch 1 height width"]:
    """1 where a pixel's middle lies in a box (left, top, right, bottom), 0 elsewhere."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    across, down = (x >= left) & (x < right), (y >= top) & (y < bottom)
    return (down[:, :, None] & across[:, None, :]).float()[:, None]
