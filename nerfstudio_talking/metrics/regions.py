"""Where in a frame is measured: boxes of face and mouth, masks of torso and background.

Every score of a mouth or of a face looks at the boxes from here: by the parsing map where a clip has one, else by
landmarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import binary_erosion

from nerfstudio_talking.dataset_io.parsing_labels import FACE_CLASSES, MOUTH_CLASSES, TORSO_CLASSES, class_mask
from nerfstudio_talking.face.landmark_sets import CHIN_TIP
from nerfstudio_talking.face.regions import MOUTH_MARGIN, STRAY_SHARE, Box, face_boxes, mask_box, mouth_boxes

SMALLEST_BOX = 16
"""Least pixels on a side of a box that an image score is taken of: SSIM looks through windows of 11."""
_PERSON, _NO_PERSON = 192, 25
"""Levels of MediaPipe's person mask, of 255, from which a pixel is surely the person, and below which surely not."""


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


def mouth_box_from_parsing(parsing: UInt8[np.ndarray, "height width"]) -> Box | None:
    """Box of the lips and what they enclose, wider on every side by `MOUTH_MARGIN` of its width; may leave the image.

    Half a per cent of the pixels at each end is left out, since maps hold stray pixels.

    Returns:
        None where no lips are seen.
    """
    return mask_box(class_mask(parsing, MOUTH_CLASSES), MOUTH_MARGIN, STRAY_SHARE)


def mouth_box_from_landmarks(landmarks: Float[np.ndarray, "478 xy"]) -> Box | None:
    """The box of `mouth_box_from_parsing` by FaceMesh points; None where no face was found."""
    return _as_box(mouth_boxes(landmarks[None], margin=MOUTH_MARGIN)[0])


def boxes_from_parsing(parsing: UInt8[np.ndarray, "height width"]) -> dict[str, Box | None]:
    """Boxes of face and mouth by name; None where there is none."""
    return {
        "face": mask_box(class_mask(parsing, FACE_CLASSES), stray=STRAY_SHARE),
        "mouth": mouth_box_from_parsing(parsing),
    }


def regions_from_parsing(parsing: UInt8[np.ndarray, "height width"]) -> FrameRegions:
    """Regions of a frame by its parsing map (`parsing_labels.PARSING_CLASSES`).

    Torso and background keep off each other's edge by a hundredth of the image's width.
    """
    margin, boxes = max(round(0.01 * parsing.shape[1]), 1), boxes_from_parsing(parsing)
    return FrameRegions(
        face=boxes["face"],
        mouth=boxes["mouth"],
        torso=_erode(class_mask(parsing, TORSO_CLASSES), margin),
        background=_erode(class_mask(parsing, ("background",)), margin),
    )


def regions_from_landmarks(
    landmarks: Float[np.ndarray, "478 xy"], person: UInt8[np.ndarray, "height width"] | None = None
) -> FrameRegions:
    """Regions of a frame by its FaceMesh points and, where given, MediaPipe's person mask.

    The torso is the person below the chin by a tenth of the face's height and more, the background is what is surely
    no person, a fiftieth of the width and more away from one.
    """
    face = _as_box(face_boxes(landmarks[None])[0])
    torso = background = None
    if person is not None:
        margin = max(round(0.01 * person.shape[1]), 1)
        background = _erode(person < _NO_PERSON, 2 * margin)
        if face is not None:
            torso = _erode(person > _PERSON, margin)
            torso[: max(round(float(landmarks[CHIN_TIP, 1]) + 0.1 * (face[3] - face[1])), 0)] = False
    return FrameRegions(face, mouth_box_from_landmarks(landmarks), torso, background)


def box_pixels(box: Box, height: int, width: int, least: int = 1) -> tuple[slice, slice] | None:
    """Rows and columns that a box covers, inside the image and at least `least` pixels on a side.

    Image scores of a box take `least=SMALLEST_BOX`.

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


def box_mask(box: Box | None, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """True inside a box; nowhere without one."""
    mask = np.zeros((height, width), dtype=bool)
    pixels = None if box is None else box_pixels(box, height, width)
    if pixels is not None:
        mask[pixels] = True
    return mask


def _as_box(values: Float[np.ndarray, " 4"]) -> Box | None:
    if not np.isfinite(values).all():
        return None
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom


def _erode(mask: Bool[np.ndarray, "height width"], pixels: int) -> Bool[np.ndarray, "height width"]:
    """The mask without its rim; the image's own border is no rim."""
    return np.asarray(binary_erosion(mask, iterations=pixels, border_value=1), dtype=bool)
