"""The gate of a bake: what it loses on held-out frames, against the portrait rendered in full."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from nerfstudio_talking.baking.renderer import BakeRenderer
from nerfstudio_talking.dataparsers.portrait import sequence_outputs
from nerfstudio_talking.dataset_io.parsing_labels import class_mask
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing
from nerfstudio_talking.io.console import get_progress
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.metrics.images import psnr
from nerfstudio_talking.models.talking_portrait import TalkingPortraitModel


@dataclass(frozen=True)
class BakeValidation:
    """Means over held-out frames, dB."""

    full: float
    """PSNR of the frames rendered in full against the recording."""
    baked: float
    """PSNR of the baked frames against the recording."""
    agreement: float
    """PSNR of the baked frames against those rendered in full."""
    mouth_full: float
    """As `full`, about the mouth; NaN where no parsing tells where that is."""
    mouth_baked: float
    """As `baked`, about the mouth."""

    @property
    def loss(self) -> float:
        """What the bake costs, dB: over the image or about the mouth, whichever is more."""
        losses = [self.full - self.baked, self.mouth_full - self.mouth_baked]
        return max(loss for loss in losses if not math.isnan(loss))


def validate_bake(model: TalkingPortraitModel, renderer: BakeRenderer, most: int = 12) -> BakeValidation:
    """Compare baked and full rendering on evenly spaced held-out frames with the audio of their own time."""
    sequence = model.sequence
    cameras = sequence_outputs(sequence, "val", model.scene_box).cameras
    chosen = np.unique(np.linspace(0, len(sequence.eval_frames) - 1, most).round().astype(int))
    rows = []
    with get_progress("Comparing", suffix="frames/s") as progress:
        for index in progress.track(chosen.tolist()):
            frame = int(sequence.eval_frames[index])
            full = model.get_outputs_for_camera(cameras[index : index + 1])["rgb"].cpu()
            baked = renderer.render(frame)[0]
            gt = torch.from_numpy(read_image(sequence.image_paths[frame], "RGB").copy()).float() / 255
            mouth = _mouth_mask(sequence, frame)
            about = [x[mouth] for x in (full, baked, gt)] if mouth is not None else None
            rows.append(
                (
                    psnr(full, gt),
                    psnr(baked, gt),
                    psnr(baked, full),
                    psnr(about[0], about[2]) if about else math.nan,
                    psnr(about[1], about[2]) if about else math.nan,
                )
            )
    return BakeValidation(*(_mean(column) for column in zip(*rows)))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def _mouth_mask(sequence: TalkingSequence, frame: int) -> Bool[Tensor, "height width"] | None:
    """A box about the lips, a quarter of their width wider on each side."""
    if sequence.parsing_paths is None:
        return None
    lips = class_mask(load_parsing(sequence, frame), ("lips", "inner_mouth"))
    rows, grid = np.flatnonzero(lips.any(1)), np.flatnonzero(lips.any(0))
    if not len(rows):
        return None
    margin = max((grid[-1] - grid[0]) // 4, 1)
    mask = torch.zeros(lips.shape, dtype=torch.bool)
    mask[max(rows[0] - margin, 0) : rows[-1] + margin + 1, max(grid[0] - margin, 0) : grid[-1] + margin + 1] = True
    return mask
