"""The face oval in an image, and the alignment of heads: where the head's own frame lies in each image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex64, Float32, UInt8

from nerfstudio_talking.face.landmark_sets import ALIGNMENT_POINTS, CHIN_TIP, FACE_OVAL, FOREHEAD_TOP, OUTER_EYE_CORNERS
from nerfstudio_talking.face.similarity import fit_similarity

_SHIFT = 4  # fractional bits of OpenCV's polygon corners

ATLAS_SIZE = 128
"""Side of the head's own frame in atlas pixels."""
_ATLAS_FACE = 40.0  # forehead to chin
_ATLAS_CENTRE = 60.0 + 52.0j


@dataclass(frozen=True)
class HeadAlignment:
    """Where the head is in each image: image = scale_rotation * atlas + shift, as complex numbers x + iy.

    The atlas is an upright frame of `ATLAS_SIZE` pixels, in which the clip's median face has a fixed size and position.
    """

    template: Float32[np.ndarray, "478 2"]
    """The clip's median face in atlas pixels."""
    scale_rotation: Complex64[np.ndarray, " frames"]
    """Pixels of the image per atlas pixel, rotated by the head's roll."""
    shift: Complex64[np.ndarray, " frames"]
    """Position of the atlas' origin in the image, pixels."""

    def to_atlas(self, frame: int, scale: float) -> Float32[np.ndarray, "2 3"]:
        """The affine map from pixels of the image resized by `scale` to atlas pixels."""
        inverse = 1.0 / (self.scale_rotation[frame] * scale)
        offset = -self.shift[frame] * scale * inverse
        return np.array(
            [[inverse.real, -inverse.imag, offset.real], [inverse.imag, inverse.real, offset.imag]], dtype=np.float32
        )


def align_heads(landmarks: Float32[np.ndarray, "frames 478 2"]) -> HeadAlignment:
    """Fit a similarity between each frame's landmarks and the clip's median face."""
    points = landmarks[..., 0].astype(np.float64) + 1j * landmarks[..., 1]
    chosen = np.array(ALIGNMENT_POINTS)
    centre = points[:, chosen].mean(axis=1, keepdims=True)
    right, left = OUTER_EYE_CORNERS
    roll = points[:, left] - points[:, right]
    size = np.abs(points[:, chosen] - centre).mean(axis=1, keepdims=True)
    upright = (points - centre) / size * (np.abs(roll) / roll)[:, None]
    template = np.median(upright.real, axis=0) + 1j * np.median(upright.imag, axis=0)
    template *= _ATLAS_FACE / np.abs(template[CHIN_TIP] - template[FOREHEAD_TOP])
    template += _ATLAS_CENTRE - (template[CHIN_TIP] + template[FOREHEAD_TOP]) / 2
    scale_rotation, shift = fit_similarity(template[chosen], points[:, chosen])
    return HeadAlignment(
        np.stack([template.real, template.imag], axis=1).astype(np.float32),
        scale_rotation.astype(np.complex64),
        shift.astype(np.complex64),
    )


def fill_polygon(
    image: UInt8[np.ndarray, "height width"], points: Float32[np.ndarray, "corners 2"], value: int
) -> None:
    """Fill a polygon with corners in pixels ((0, 0) the upper left corner of the image), to 1/16 of a pixel."""
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
