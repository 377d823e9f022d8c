"""Features of the face painted over a parsing map by their landmark outlines."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.face.landmark_sets import (
    INNER_LIP_OUTLINE,
    LEFT_BROW_OUTLINE,
    LEFT_EYE_OUTLINE,
    NOSE_OUTLINE,
    OUTER_LIP_OUTLINE,
    RIGHT_BROW_OUTLINE,
    RIGHT_EYE_OUTLINE,
)
from nerfstudio_talking.face.outlines import fill_polygon

_FEATURES = (
    ("nose", (NOSE_OUTLINE,)),
    ("brows", (RIGHT_BROW_OUTLINE, LEFT_BROW_OUTLINE)),
    ("eyes", (RIGHT_EYE_OUTLINE, LEFT_EYE_OUTLINE)),
    ("lips", (OUTER_LIP_OUTLINE,)),
    ("inner_mouth", (INNER_LIP_OUTLINE,)),
)
"""Classes and their outlines in the order of painting: the inner mouth lies on the lips."""


def paint_features(ids: UInt8[np.ndarray, "height width"], landmarks: Float32[np.ndarray, "478 2"]) -> None:
    """Paint nose, brows, eyes, lips and inner mouth over a parsing map, in place."""
    for name, outlines in _FEATURES:
        for outline in outlines:
            fill_polygon(ids, landmarks[list(outline)], CLASS_ID[name])
