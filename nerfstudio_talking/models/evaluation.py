"""What an evaluation keeps of a rendered frame for the scores of the video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from nerfstudio_talking.metrics.regions import SMALLEST_BOX, box_pixels, mouth_box_from_parsing


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
    box = mouth_box_from_parsing(parsing)
    return None if box is None else box_pixels(box, *parsing.shape, least=SMALLEST_BOX)
