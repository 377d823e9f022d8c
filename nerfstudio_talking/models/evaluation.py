"""What an evaluation scores of a rendered frame, and what it keeps of it for the scores of the video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from nerfstudio_talking.metrics.images import SMALLEST_BOX, psnr, ssim
from nerfstudio_talking.metrics.regions import boxes_from_parsing, pixel_box


@dataclass
class Rendering:
    """A rendered evaluation frame."""

    index: int
    """Position among the evaluation frames."""
    rgb: UInt8[Tensor, "height width 3"]
    """Rendered colours."""
    parsing: UInt8[Tensor, "height width 3"] | None
    """Rendered parsing labels in the palette's colours; None where the renderer gives none."""


def mouth_pixels(parsing: UInt8[np.ndarray, "height width"]) -> tuple[slice, slice] | None:
    """Rows and columns of the mouth's box in a frame, by its parsing map; None where no lips are seen."""
    box = boxes_from_parsing(parsing)["mouth"]
    return None if box is None else pixel_box(box, *parsing.shape, least=SMALLEST_BOX)


def frame_scores(
    rgb: Float[Tensor, "height width 3"],
    gt: Float[Tensor, "height width 3"],
    parsing: UInt8[np.ndarray, "height width"] | None,
) -> dict[str, float]:
    """`psnr` and `ssim` of a frame and, with a parsing map, `psnr_mouth`: the frame's PSNR where no lips are seen."""
    scores = {"psnr": psnr(rgb, gt), "ssim": ssim(rgb, gt)}
    if parsing is not None:
        mouth = mouth_pixels(parsing) or (slice(None), slice(None))
        scores["psnr_mouth"] = psnr(rgb[mouth], gt[mouth])
    return scores
