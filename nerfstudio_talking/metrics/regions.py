"""Where in a frame is measured: boxes of face and mouth, masks of torso and background."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import binary_erosion

from nerfstudio_talking.dataset_io.parsing_labels import FACE_CLASSES, MOUTH_CLASSES, TORSO_CLASSES, class_mask
from nerfstudio_talking.face.landmark_sets import CHIN_TIP
from nerfstudio_talking.face.regions import MOUTH_MARGIN, STRAY_SHARE, Box, face_boxes, mask_box, mouth_boxes

_PERSON, _NO_PERSON = 192, 25
"""Of 255, from MediaPipe's person mask: surely the person, surely not."""


@dataclass(frozen=True)
class FrameRegions:
    """The regions of one frame of the ground truth; None or empty where there is none."""

    face: Box | None = None
    mouth: Box | None = None
    torso: Bool[np.ndarray, "height width"] | None = None
    background: Bool[np.ndarray, "height width"] | None = None

    @property
    def boxes(self) -> dict[str, Box | None]:
        """The boxes by name."""
        return {"face": self.face, "mouth": self.mouth}


def boxes_from_parsing(parsing: UInt8[np.ndarray, "height width"]) -> dict[str, Box | None]:
    """Boxes of face and mouth by name; None where there is none.

    Half a per cent of the pixels at each end is left out of a box, since maps hold stray pixels.
    """
    return {
        "face": mask_box(class_mask(parsing, FACE_CLASSES), stray=STRAY_SHARE),
        "mouth": mask_box(class_mask(parsing, MOUTH_CLASSES), MOUTH_MARGIN, STRAY_SHARE),
    }


def regions_from_parsing(parsing: UInt8[np.ndarray, "height width"]) -> FrameRegions:
    """Regions of a frame by its parsing map (`parsing_labels.PARSING_CLASSES`).

    Torso and background keep off each other's edge by a hundredth of the image's width.
    """
    margin, boxes = max(round(0.01 * parsing.shape[1]), 1), boxes_from_parsing(parsing)
    return FrameRegions(
        face=boxes["face"],
        mouth=boxes["mouth"],
        torso=_shrunk(class_mask(parsing, TORSO_CLASSES), margin),
        background=_shrunk(class_mask(parsing, ("background",)), margin),
    )


def regions_from_landmarks(
    landmarks: Float[np.ndarray, "478 xy"], person: UInt8[np.ndarray, "height width"] | None = None
) -> FrameRegions:
    """Regions of a frame by its FaceMesh points and, where given, MediaPipe's person mask.

    The torso is the person below the chin by a tenth of the face's height and more, the background is what is surely
    no person, a fiftieth of the width and more away from one.
    """
    face, mouth = face_boxes(landmarks[None])[0], mouth_boxes(landmarks[None])[0]
    seen = bool(np.isfinite(face).all())
    torso = background = None
    if person is not None:
        margin = max(round(0.01 * person.shape[1]), 1)
        background = _shrunk(person < _NO_PERSON, 2 * margin)
        if seen:
            torso = _shrunk(person > _PERSON, margin)
            torso[: max(round(float(landmarks[CHIN_TIP, 1] + 0.1 * (face[3] - face[1]))), 0)] = False
    return FrameRegions(_as_box(face), _as_box(mouth), torso, background)


def pixel_box(box: Box, height: int, width: int, least: int = 1) -> tuple[slice, slice] | None:
    """Rows and columns that a box covers, inside the image and at least `least` pixels on a side.

    Returns:
        None where the box lies outside the image, or the image is smaller than that.
    """
    sides = []
    for low, high, size in ((box[1], box[3], height), (box[0], box[2], width)):
        first, last = max(math.floor(low), 0), min(math.ceil(high), size)
        if first >= last or size < least:
            return None
        lack = max(least - (last - first), 0)
        first = min(max(first - lack // 2, 0), size - max(last - first, least))
        sides.append(slice(first, max(last, first + least)))
    return sides[0], sides[1]


def _as_box(values: Float[np.ndarray, " 4"]) -> Box | None:
    if not np.isfinite(values).all():
        return None
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom


def _shrunk(mask: Bool[np.ndarray, "height width"], pixels: int) -> Bool[np.ndarray, "height width"]:
    """The mask without its rim; the image's own border is no rim."""
    return np.asarray(binary_erosion(mask, iterations=pixels, border_value=1), dtype=bool)


def outside(box: Box | None, within: Box | None, height: int, width: int) -> Bool[np.ndarray, "height width"] | None:
    """True inside the box `within` but not inside `box`: the face around the mouth."""
    area = None if within is None else pixel_box(within, height, width)
    if area is None:
        return None
    mask = np.zeros((height, width), dtype=bool)
    mask[area] = True
    hole = None if box is None else pixel_box(box, height, width)
    if hole is not None:
        mask[hole] = False
    return mask
