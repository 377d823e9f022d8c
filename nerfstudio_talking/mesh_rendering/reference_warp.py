"""What the mesh of a face does not show, lent by another frame: hair and ears, neck and clothes, the background.

Head and body of the frame that lends stand elsewhere. Its pixels are carried to where they belong, the head's by the
head's motion, neck and clothes by the body's, and laid over the clip's background: silhouettes that jump from frame to
frame are nothing that a refiner could correct.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES, class_mask
from nerfstudio_talking.media.inpainting import center_map, fill_smoothly
from nerfstudio_talking.process.torso import torso_image

_SOFT = 0.8
"""Standard deviation, pixels, of the head's outline."""


def affine_between(
    start: Float[np.ndarray, "points 2"], end: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "2 3"]:
    """The affine map that carries points nearest to others, in least squares."""
    return np.linalg.lstsq(np.c_[start, np.ones(len(start))], end, rcond=None)[0].T


def body_between(
    start: Float[np.ndarray, "2 3"], end: Float[np.ndarray, "2 3"], width: int, height: int
) -> Float[np.ndarray, "2 3"]:
    """The motion in pixels of a body from one frame to another; motions as in the track, from rest, in [-1, 1]."""
    whole = [np.vstack([motion, [0, 0, 1]]).astype(np.float64) for motion in (start, end)]
    pixels = np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]])
    return (pixels @ whole[1] @ np.linalg.inv(whole[0]) @ np.linalg.inv(pixels))[:2]


class Layers(NamedTuple):
    """A frame's person, taken apart; RGBA up to 255, the colours going on beyond the outlines."""

    head: Float32[np.ndarray, "height width 4"]
    torso: Float32[np.ndarray, "height width 4"]
    """Neck and clothes, going on behind the head."""


def person_layers(image: UInt8[np.ndarray, "height width 3"], parsing: UInt8[np.ndarray, "height width"]) -> Layers:
    """Head and torso of a frame from its class ids."""
    import cv2

    mask = class_mask(parsing, HEAD_CLASSES)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _SOFT)
    head = np.dstack([fill_smoothly(image, mask), 255 * soft])
    return Layers(head, torso_image(image, parsing).astype(np.float32))


def carried(
    layers: Layers,
    background: UInt8[np.ndarray, "height width 3"],
    head: Float[np.ndarray, "2 3"],
    body: Float[np.ndarray, "2 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """A person before the background, head and torso moved apart by motions in pixels."""
    below = _laid(background.astype(np.float32), layers.torso, body)
    return np.round(np.clip(_laid(below, layers.head, head), 0, 255)).astype(np.uint8)


def _laid(
    below: Float32[np.ndarray, "height width 3"],
    layer: Float32[np.ndarray, "height width 4"],
    motion: Float[np.ndarray, "2 3"],
) -> Float32[np.ndarray, "height width 3"]:
    """A layer, moved and laid over an image."""
    import cv2

    height, width = layer.shape[:2]
    moved = cv2.warpAffine(
        layer, center_map(motion), (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = moved[..., 3:] / 255
    return alpha * moved[..., :3] + (1 - alpha) * below
