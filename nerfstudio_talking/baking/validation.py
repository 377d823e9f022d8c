"""Validation of a bake: what it loses on held-out frames against the unbaked portrait."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from nerfstudio_talking.baking.renderer import BakeRenderer
from nerfstudio_talking.dataset_io.sequence import load_parsing
from nerfstudio_talking.io.console import get_progress
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.metrics.functional.images import psnr
from nerfstudio_talking.models.evaluation import mouth_pixels
from nerfstudio_talking.models.talking_portrait import TalkingPortraitModel


@dataclass(frozen=True)
class BakeValidation:
    """Means over held-out frames, dB."""

    full: float
    """PSNR of the unbaked frames against ground truth."""
    baked: float
    """PSNR of the baked frames against ground truth."""
    agreement: float
    """PSNR of the baked frames against the unbaked ones."""
    mouth_full: float
    """As `full`, in the mouth's box; NaN where no parsing map shows lips."""
    mouth_baked: float
    """As `baked`, in the mouth's box."""

    @property
    def loss(self) -> float:
        """PSNR that the bake loses, dB: over the image or in the mouth's box, whichever is more."""
        losses = [self.full - self.baked, self.mouth_full - self.mouth_baked]
        return max(loss for loss in losses if not math.isnan(loss))

    def __str__(self) -> str:
        lost = f"loses {round(self.loss, 2) + 0.0:.2f} dB"  # without the sign of -0.00
        return f"{lost} ({self.full:.2f} to {self.baked:.2f}, mouth {self.mouth_full:.2f} to {self.mouth_baked:.2f})"


def validate_bake(model: TalkingPortraitModel, renderer: BakeRenderer, most: int = 12) -> BakeValidation:
    """Compare baked and unbaked rendering on evenly spaced held-out frames with the audio of their own time.

    Args:
        model: the portrait, in evaluation mode, on its recorded track.
        renderer: renderer of its bake.
        most: greatest number of frames.
    """
    sequence, track = model.sequence, model.sequence.track
    chosen = np.unique(np.linspace(0, len(sequence.eval_frames) - 1, most).round().astype(int))
    rows = []
    with get_progress("Validating", suffix="frames/s") as progress:
        for frame in progress.track(sequence.eval_frames[chosen].tolist()):
            one = slice(frame, frame + 1)
            camera = track.camera.to_nerfstudio(track.camera_to_worlds[one], track.times[one]).to(model.device)
            full = model.render_camera(camera)["rgb"].cpu()
            baked = renderer.render(frame, track.width, track.height)[0].cpu()
            gt = torch.from_numpy(read_image(sequence.image_paths[frame], "RGB").copy()).float() / 255
            mouth = None if sequence.parsing_paths is None else mouth_pixels(load_parsing(sequence, frame))
            rows.append(
                (
                    psnr(full, gt),
                    psnr(baked, gt),
                    psnr(baked, full),
                    math.nan if mouth is None else psnr(full[mouth], gt[mouth]),
                    math.nan if mouth is None else psnr(baked[mouth], gt[mouth]),
                )
            )
    return BakeValidation(*(_mean(column) for column in zip(*rows)))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan
