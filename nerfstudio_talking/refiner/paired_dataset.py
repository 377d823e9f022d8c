"""Rendered and true frames of clips, as what the refiner learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from nerfstudio_talking.refiner.frame_window import stack_windows, to_network
from nerfstudio_talking.refiner.network import Batch
from nerfstudio_talking.refiner.roi import WHOLE, Roi, roi_pixels


@dataclass(frozen=True)
class PairedSequence:
    """One clip, rendered and true, frame by frame."""

    rendered: UInt8[Tensor, "frames height width 3"]
    gt: UInt8[Tensor, "train height width 3"]
    """The true frames of `frames`."""
    frames: Int64[np.ndarray, " train"]
    """Numbers of the frames to train on."""
    identity: Float32[Tensor, "train identity"]
    """Identity features of the true frames."""
    mouths: Float32[Tensor, "train 4"]
    """Left, top, right, bottom of the mouth in the true frames, pixels."""
    roi: Roi = WHOLE
    """What is learned of the image."""

    def __post_init__(self) -> None:
        counts = {len(self.gt), len(self.frames), len(self.identity), len(self.mouths)}
        if len(counts) != 1 or self.gt.shape[1:] != self.rendered.shape[1:]:
            shapes = f"{tuple(self.gt.shape)} and {tuple(self.rendered.shape)}"
            raise ValueError(f"{counts} frames of {shapes} are no pairs")


def draw_batch(
    clips: list[PairedSequence],
    step: int,
    size: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    jitter: float = 0.0,
    colour_jitter: float = 0.0,
    successive: bool = False,
) -> Batch:
    """Random training windows with their ground truth, from a clip drawn by its length.

    The draw depends on the seed and the step alone: a resumed training goes on as it would have.

    Args:
        clips: what to draw from.
        step: of the training.
        size: windows in the batch, all from one clip, since clips differ in size.
        seed: of the training.
        device: of the batch.
        jitter: how far an area is shifted, at most, as a share of its sides; above 0, half of the batches are mirrored,
            too. So what a few hundred frames have in common, where heads turn to one side, is not taken for a rule
            (Isola et al. 2017 train with such jitter).
        colour_jitter: how far the gain of every colour departs from 1, and its offset from 0 of [-1, 1], at most; the
            same for rendering and ground truth. So the light of the training frames is not painted into others.
        successive: every window is followed by that of the next frame, so that a batch has twice as many.

    Raises:
        ValueError: no two training frames of the clip follow one another, where they should.
    """
    rng = np.random.default_rng((seed, step))
    lengths = np.array([len(clip.frames) for clip in clips], dtype=np.float64)
    clip = clips[int(rng.choice(len(clips), p=lengths / lengths.sum()))]
    if successive:
        first = np.flatnonzero(np.diff(clip.frames) == 1)
        if len(first) == 0:
            raise ValueError("no two training frames follow one another")
        first = rng.choice(first, min(size, len(first)), replace=False)
        chosen = np.stack([first, first + 1], axis=1).reshape(-1)
    else:
        chosen = rng.choice(len(clip.frames), min(size, len(clip.frames)), replace=False)
    frames, index = torch.from_numpy(clip.frames[chosen]), torch.from_numpy(chosen)
    height, width = clip.gt.shape[1:3]
    rows, columns = roi_pixels(clip.roi, height, width)
    mirrored = False
    if jitter > 0:
        rows, columns = (_shifted(side, n, jitter, rng) for side, n in ((rows, height), (columns, width)))
        mirrored = bool(rng.random() < 0.5)
    parts = (
        stack_windows(clip.rendered[:, rows, columns], frames),
        to_network(clip.gt[:, rows, columns][index]).permute(0, 3, 1, 2),
        filled_boxes(clip.mouths[index], height, width)[..., rows, columns],
    )
    window, gt, mouth = ((part.flip(-1) if mirrored else part).contiguous().to(device) for part in parts)
    if colour_jitter > 0:
        gain, offset = torch.from_numpy(rng.uniform(-colour_jitter, colour_jitter, (2, 3, 1, 1))).to(window)
        window, gt = (
            (part.unflatten(1, (-1, 3)) * (1 + gain) + offset).clamp(-1, 1).flatten(1, 2) for part in (window, gt)
        )
    return Batch(window, gt, clip.identity[index].to(device), mouth)


def _shifted(side: slice, size: int, jitter: float, rng: np.random.Generator) -> slice:
    """Rows or columns of an area moved by chance inside the image."""
    most = round(jitter * (side.stop - side.start))
    shift = int(np.clip(rng.integers(-most, most + 1), -side.start, size - side.stop))
    return slice(side.start + shift, side.stop + shift)


def filled_boxes(boxes: Float32[Tensor, "batch 4"], height: int, width: int) -> Float32[Tensor, "batch 1 height width"]:
    """1 where a pixel's middle lies in a box (left, top, right, bottom), 0 elsewhere."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    across, down = (x >= left) & (x < right), (y >= top) & (y < bottom)
    return (down[:, :, None] & across[:, None, :]).float()[:, None]
