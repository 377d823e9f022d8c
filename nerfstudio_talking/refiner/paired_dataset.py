"""Rendered frames paired with their ground truth, and the training batches drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from nerfstudio_talking.refiner.frame_window import stack_windows, to_network
from nerfstudio_talking.refiner.network import Batch
from nerfstudio_talking.refiner.roi import WHOLE, Roi, roi_slices


@dataclass(frozen=True)
class PairedSequence:
    """A rendered sequence with the ground truth of its training frames."""

    rendered: UInt8[Tensor, "frames height width 3"]
    """Every frame of the sequence as rendered."""
    gt: UInt8[Tensor, "train height width 3"]
    """Ground truth of the training frames."""
    frames: Int64[np.ndarray, " train"]
    """Positions of the training frames in the sequence."""
    identity: Float32[Tensor, "train identity"]
    """Identity features of the ground truth."""
    roi: Roi = WHOLE
    """The region of the image that is learned."""

    def __post_init__(self) -> None:
        counts = {len(self.gt), len(self.frames), len(self.identity)}
        if len(counts) != 1 or self.gt.shape[1:] != self.rendered.shape[1:]:
            shapes = f"{tuple(self.gt.shape)} and {tuple(self.rendered.shape)}"
            raise ValueError(f"{counts} frames of {shapes} are no pairs")


def draw_batch(
    sequences: list[PairedSequence],
    step: int,
    size: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    jitter: float = 0.0,
) -> Batch:
    """Random training windows with their ground truth, all from one sequence, which is drawn by its length.

    The draw depends on the seed and the step alone: a resumed training continues as it would have.

    Args:
        sequences: what to draw from.
        step: number of the batch in the training.
        size: windows in the batch; fewer where the sequence has fewer training frames.
        seed: seed of the training.
        device: device of the batch.
        jitter: largest shift of the region, as a share of its sides; above 0, half of the batches are mirrored too.
            This augmentation keeps a few hundred frames from being learned by heart (Isola et al. 2017).
    """
    rng = np.random.default_rng((seed, step))
    lengths = np.array([len(sequence.frames) for sequence in sequences], dtype=np.float64)
    sequence = sequences[int(rng.choice(len(sequences), p=lengths / lengths.sum()))]
    chosen = rng.choice(len(sequence.frames), min(size, len(sequence.frames)), replace=False)
    frames, index = torch.from_numpy(sequence.frames[chosen]), torch.from_numpy(chosen)
    height, width = sequence.gt.shape[1:3]
    rows, columns = roi_slices(sequence.roi, height, width)
    mirror = False
    if jitter > 0:
        rows, columns = (_shift_slice(side, n, jitter, rng) for side, n in ((rows, height), (columns, width)))
        mirror = bool(rng.random() < 0.5)
    parts = (
        stack_windows(sequence.rendered[:, rows, columns], frames),
        to_network(sequence.gt[:, rows, columns][index]).permute(0, 3, 1, 2),
    )
    window, gt = ((part.flip(-1) if mirror else part).contiguous().to(device) for part in parts)
    return Batch(window, gt, sequence.identity[index].to(device))


def _shift_slice(side: slice, size: int, jitter: float, rng: np.random.Generator) -> slice:
    """Rows or columns of a region, shifted at random inside the image."""
    most = round(jitter * (side.stop - side.start))
    shift = int(np.clip(rng.integers(-most, most + 1), -side.start, size - side.stop))
    return slice(side.start + shift, side.stop + shift)
