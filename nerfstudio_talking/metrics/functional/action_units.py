"""Action unit error (AUE): facial movements compared, upper and lower face apart.

OpenFace is what papers use; its csv files are read where users have them. Without it, intensities come from MediaPipe's
blendshapes or from landmarks. The three are different rulers: compare numbers of one source only.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from nerfstudio_talking.face.landmark_sets import (
    CHIN_TIP,
    INNER_BROW_ENDS,
    INNER_EYE_CORNERS,
    INNER_LIP_PAIRS,
    LID_PAIRS,
    LOWER_LIP_BOTTOM,
    MOUTH_CORNERS,
    NOSE_BASE,
    OUTER_BROW_ENDS,
    OUTER_EYE_CORNERS,
    UPPER_LIP_TOP,
)
from nerfstudio_talking.io.errors import TalkingError

UPPER_FACE = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU45")
LOWER_FACE = ("AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26")
ACTION_UNITS = UPPER_FACE + LOWER_FACE
"""The seventeen whose intensities OpenFace estimates."""
FULL = 5.0
"""Intensity of a movement at its fullest, on OpenFace's scale."""

BLENDSHAPES: dict[str, tuple[int, ...]] = {
    "AU01": (3,),
    "AU02": (4, 5),
    "AU04": (1, 2),
    "AU05": (21, 22),
    "AU06": (7, 8),
    "AU07": (19, 20),
    "AU09": (50, 51),
    "AU45": (9, 10),
    "AU10": (48, 49),
    "AU12": (44, 45),
    "AU14": (28, 29),
    "AU15": (30, 31),
    "AU17": (42,),
    "AU20": (46, 47),
    "AU23": (36, 37),
    "AU25": (34, 35),
    "AU26": (25,),
}
"""Columns of MediaPipe's 52 blendshapes whose mean stands for an action unit: browInnerUp, browOuterUp, browDown,
eyeWide, cheekSquint, eyeSquint, noseSneer, eyeBlink; mouthUpperUp, mouthSmile, mouthDimple, mouthFrown,
mouthShrugLower, mouthStretch, mouthPress (strictly AU24, tightened lips have none), mouthLowerDown, jawOpen."""

GEOMETRY_UPPER = ("AU01", "AU02", "AU04", "AU45")
GEOMETRY_LOWER = ("AU10", "AU12", "AU15", "AU17", "AU20", "AU25", "AU26")
GEOMETRY_UNITS = GEOMETRY_UPPER + GEOMETRY_LOWER
"""Units that landmarks show; cheeks, squints and dimples move no landmark by its own."""
_FULL_DISTANCE = {
    "AU01": 0.12,
    "AU02": 0.12,
    "AU04": 0.08,
    "AU45": 0.10,
    "AU10": 0.08,
    "AU12": 0.12,
    "AU15": 0.08,
    "AU17": 0.10,
    "AU20": 0.15,
    "AU25": 0.30,
    "AU26": 0.35,
}
"""Movement at intensity 5 as a share of the distance of the outer eye corners; of grown faces, rounded. A scale only:
it sets how units weigh against each other, never which of two videos is nearer in one unit."""


class ActionUnitError(NamedTuple):
    """Squared error of intensities; 0 for identical faces."""

    upper: float
    lower: float
    frames: int
    """Frames in which both faces were found: the others are left out."""


_MOST_FRAMES = 10_000_000
"""Frames of a table beyond which a number is taken for damaged: four days."""


def action_unit_error(
    rendered: Float[np.ndarray, "frames units"], gt: Float[np.ndarray, "frames units"], names: tuple[str, ...]
) -> ActionUnitError:
    """AUE, aggregated as TalkingGaussian's script does.

    For each unit the squared difference of the intensities (0 to 5) is averaged over frames, then summed over the units
    of the upper (AU 01 02 04 05 06 07 09 45) and of the lower face (AU 10 12 14 15 17 20 23 25 26), or over those of
    them that the source has. Papers that average over units instead give numbers eight or nine times smaller.

    Args:
        rendered: intensities; rows with NaN are left out.
        gt: the same of the ground truth.
        names: the column's units, as in `ACTION_UNITS`.
    """
    return summarize_error(*sum_squared_error(rendered, gt), names)


def sum_squared_error(
    rendered: Float[np.ndarray, "frames units"], gt: Float[np.ndarray, "frames units"]
) -> tuple[Float64[np.ndarray, " units"], int]:
    """Squared differences of intensities summed over the frames that have both, and how many these are."""
    seen = np.isfinite(rendered).all(axis=1) & np.isfinite(gt).all(axis=1)
    return ((np.asarray(rendered, np.float64) - gt)[seen] ** 2).sum(axis=0), int(seen.sum())


def summarize_error(total: Float64[np.ndarray, " units"], frames: int, names: tuple[str, ...]) -> ActionUnitError:
    """AUE from what `sum_squared_error` gives, perhaps summed over parts of a video; NaN without a frame."""
    if frames == 0:
        return ActionUnitError(np.nan, np.nan, 0)
    upper = sum(float(value) for name, value in zip(names, total / frames) if name in UPPER_FACE)
    lower = sum(float(value) for name, value in zip(names, total / frames) if name in LOWER_FACE)
    return ActionUnitError(upper, lower, frames)


def from_blendshapes(blendshapes: Float[np.ndarray, "frames 52"]) -> Float64[np.ndarray, "frames 17"]:
    """Intensities 0 to 5 of `ACTION_UNITS`: five times the mean of the blendshapes that go with each."""
    columns = [np.asarray(blendshapes, np.float64)[:, BLENDSHAPES[name]].mean(axis=1) for name in ACTION_UNITS]
    return FULL * np.stack(columns, axis=1)


def from_landmarks(landmarks: Float[np.ndarray, "frames points xy"]) -> Float64[np.ndarray, "frames 11"]:
    """Intensities of `GEOMETRY_UNITS` up to a constant per person, from FaceMesh points.

    Distances along the face's own axes, over the distance of the outer eye corners, scaled so that a full movement is
    5. The neutral face is not taken off, so only differences of two videos of one person mean something. NaN where no
    face was found.
    """
    points = np.asarray(landmarks[..., :2], dtype=np.float64)
    across = points[:, OUTER_EYE_CORNERS[1]] - points[:, OUTER_EYE_CORNERS[0]]
    width = np.linalg.norm(across, axis=-1)
    right = across / width[:, None]
    down = np.stack([-right[:, 1], right[:, 0]], axis=-1)

    def place(indices: tuple[int, ...], axis: np.ndarray) -> np.ndarray:
        return np.einsum("fpi,fi->f", points[:, list(indices)], axis) / len(indices) / width

    def spread(pair: tuple[int, int]) -> np.ndarray:
        return place(pair[1:], right) - place(pair[:1], right)

    upper_lids, lower_lids = (tuple(pair[side] for eye in LID_PAIRS for pair in eye) for side in (0, 1))
    upper_lips, lower_lips = (tuple(pair[side] for pair in INNER_LIP_PAIRS) for side in (0, 1))
    nose = place((NOSE_BASE,), down)
    lips = place((UPPER_LIP_TOP, LOWER_LIP_BOTTOM), down)
    measured = {
        "AU01": place(INNER_EYE_CORNERS, down) - place(INNER_BROW_ENDS, down),
        "AU02": place(OUTER_EYE_CORNERS, down) - place(OUTER_BROW_ENDS, down),
        "AU04": -spread(INNER_BROW_ENDS),
        "AU45": place(upper_lids, down) - place(lower_lids, down),
        "AU10": nose - place((UPPER_LIP_TOP,), down),
        "AU12": nose - place(MOUTH_CORNERS, down),
        "AU15": place(MOUTH_CORNERS, down) - lips,
        "AU17": place((LOWER_LIP_BOTTOM,), down) - place((CHIN_TIP,), down),
        "AU20": spread(MOUTH_CORNERS),
        "AU25": place(lower_lips, down) - place(upper_lips, down),
        "AU26": place((CHIN_TIP,), down) - nose,
    }
    return np.stack([FULL * measured[name] / _FULL_DISTANCE[name] for name in GEOMETRY_UNITS], axis=1)


def read_openface(path: Path) -> Float64[np.ndarray, "frames 17"]:
    """Intensities of `ACTION_UNITS` from a csv of OpenFace's FeatureExtraction (header names start with a space).

    Row i belongs to frame i; rows of frames that OpenFace skipped or did not succeed in are NaN.

    Raises:
        TalkingError: the file is missing or no such csv.
    """
    hint = "Give the csv that OpenFace's FeatureExtraction writes for the video (-aus)."
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{k.strip(): v for k, v in row.items() if k is not None} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TalkingError(path, expected="a csv of OpenFace", found=str(error), hint=hint) from error
    wanted = [f"{name}_r" for name in ACTION_UNITS]
    missing = wanted if not rows else [name for name in wanted if name not in rows[0]]
    if missing:
        found = "no rows" if not rows else f"no column {missing[0]}"
        raise TalkingError(path, expected="a csv of OpenFace with " + ", ".join(wanted), found=found, hint=hint)
    try:
        frames = [int(row["frame"]) - 1 if "frame" in row else i for i, row in enumerate(rows)]
        if not 0 <= min(frames) <= max(frames) < _MOST_FRAMES:
            raise ValueError(f"frames {min(frames) + 1} to {max(frames) + 1}")
        table = np.full((max(frames) + 1, len(wanted)), np.nan)
        for frame, row in zip(frames, rows):
            if float(row.get("success", 1)) > 0:
                table[frame] = [float(row[name]) for name in wanted]
    except (TypeError, ValueError) as error:
        raise TalkingError(path, expected="numbers in every column", found=str(error), hint=hint) from error
    return table
