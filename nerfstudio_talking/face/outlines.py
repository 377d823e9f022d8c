"""The regions of the face that landmarks outline, and the frame of the head in the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex64, Float32, UInt8

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.face.landmark_sets import INNER_LIPS, OUTER_LIPS
from nerfstudio_talking.face.similarity import fit_similarity

# Closed outlines, as indices of FaceMesh points.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE = (
    *(168, 193, 245, 188, 174, 217, 126, 209, 129, 64, 98, 97),
    *(2, 326, 327, 294, 358, 429, 355, 437, 399, 412, 465, 417),
)
NOSE_BRIDGE, CHIN, FOREHEAD = 168, 152, 10

_PAINTED = (
    ("nose", (NOSE,)),
    ("brows", (RIGHT_BROW, LEFT_BROW)),
    ("eyes", (RIGHT_EYE, LEFT_EYE)),
    ("lips", (OUTER_LIPS,)),
    ("inner_mouth", (INNER_LIPS,)),
)
_SHIFT = 4  # fractional bits of OpenCV's polygon corners
# What speaking and blinking leave where it is: all but mouth, chin and lids.
STEADY_POINTS = tuple(
    sorted({*FACE_OVAL[:10], *FACE_OVAL[26:], *NOSE, 33, 133, 263, 362, *RIGHT_BROW, *LEFT_BROW, 1, 4, 5, 6, 195, 197})
)

ATLAS_SIZE = 128
"""Side of the head's own frame in atlas pixels."""
_ATLAS_FACE = 40.0  # forehead to chin
_ATLAS_CENTRE = 60.0 + 52.0j


@dataclass(frozen=True)
class HeadFrames:
    """Where the head is in each image: image = scale_rotation * atlas + shift, as complex numbers x + iy."""

    template: Float32[np.ndarray, "478 2"]
    """The clip's median face in atlas pixels."""
    scale_rotation: Complex64[np.ndarray, " frames"]
    """Pixels of the image per atlas pixel, turned by the head's roll."""
    shift: Complex64[np.ndarray, " frames"]
    """Where the atlas' origin lies in the image."""

    def to_atlas(self, frame: int, scale: float) -> Float32[np.ndarray, "2 3"]:
        """The affine map from pixels of the image resized by `scale` to atlas pixels."""
        inverse = 1.0 / (self.scale_rotation[frame] * scale)
        offset = -self.shift[frame] * scale * inverse
        return np.array(
            [[inverse.real, -inverse.imag, offset.real], [inverse.imag, inverse.real, offset.imag]], dtype=np.float32
        )


def align_heads(landmarks: Float32[np.ndarray, "frames 478 2"]) -> HeadFrames:
    """Fit a similarity between each frame's landmarks and the clip's median face."""
    points = landmarks[..., 0].astype(np.float64) + 1j * landmarks[..., 1]
    steady = np.array(STEADY_POINTS)
    centre = points[:, steady].mean(axis=1, keepdims=True)
    roll = points[:, 263] - points[:, 33]
    size = np.abs(points[:, steady] - centre).mean(axis=1, keepdims=True)
    upright = (points - centre) / size * (np.abs(roll) / roll)[:, None]
    template = np.median(upright.real, axis=0) + 1j * np.median(upright.imag, axis=0)
    template *= _ATLAS_FACE / np.abs(template[CHIN] - template[FOREHEAD])
    template += _ATLAS_CENTRE - (template[CHIN] + template[FOREHEAD]) / 2
    scale_rotation, shift = fit_similarity(template[steady], points[:, steady])
    return HeadFrames(
        np.stack([template.real, template.imag], axis=1).astype(np.float32),
        scale_rotation.astype(np.complex64),
        shift.astype(np.complex64),
    )


def fill_polygon(
    image: UInt8[np.ndarray, "height width"], points: Float32[np.ndarray, "corners 2"], value: int
) -> None:
    """Paint a polygon with corners in pixels ((0, 0) the upper left corner of the image), to 1/16 of a pixel."""
    import cv2

    # OpenCV's integer coordinates are centres of pixels
    corners = np.round((points - 0.5) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(image, [corners], (value,), shift=_SHIFT)


def oval_mask(
    landmarks: Float32[np.ndarray, "478 2"], height: int, width: int, scale: float = 1.0
) -> Bool[np.ndarray, "height width"]:
    """True inside the face oval, in an image resized by `scale`."""
    mask = np.zeros((height, width), dtype=np.uint8)
    fill_polygon(mask, landmarks[list(FACE_OVAL)] * scale, 1)
    return mask.astype(bool)


def paint_features(ids: UInt8[np.ndarray, "height width"], landmarks: Float32[np.ndarray, "478 2"]) -> None:
    """Paint nose, brows, eyes, lips and inner mouth over a parsing map, in place."""
    for name, outlines in _PAINTED:
        for outline in outlines:
            fill_polygon(ids, landmarks[list(outline)], CLASS_ID[name])
