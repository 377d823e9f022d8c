"""Warp hair, neck, torso and background of a reference frame to behind the rendered face mesh.

The mesh covers the face only. Everything else comes from a reference frame, in which head and body stand elsewhere: the
pixels of the head are warped by the head's motion, those of neck and clothes by the body's, and both are composited
over the sequence's background. Silhouettes that jumped from frame to frame could not be corrected by a refiner.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES, class_mask
from nerfstudio_talking.media.inpainting import center_map, fill_smoothly
from nerfstudio_talking.mesh_rendering.torso_layer import torso_image

_EDGE_BLUR = 0.8
"""Standard deviation of the blur of the head's outline, pixels."""


def fit_affine(
    source: Float[np.ndarray, "points 2"], target: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "2 3"]:
    """Least-squares affine map from source points to target points."""
    return np.linalg.lstsq(np.c_[source, np.ones(len(source))], target, rcond=None)[0].T


def body_motion_between(
    source: Float[np.ndarray, "2 3"], target: Float[np.ndarray, "2 3"], width: int, height: int
) -> Float[np.ndarray, "2 3"]:
    """Affine motion of the body from one frame to another, in pixels.

    Args:
        source: the first frame's motion from the rest position, as in the track: positions in [-1, 1].
        target: the second frame's motion from the rest position.
        width: width of the image, pixels.
        height: height of the image, pixels.
    """
    start, end = (np.vstack([motion, [0, 0, 1]]).astype(np.float64) for motion in (source, target))
    pixels = np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]])
    return (pixels @ end @ np.linalg.inv(start) @ np.linalg.inv(pixels))[:2]


class PersonLayers(NamedTuple):
    """A frame's person in two RGBA layers of levels in [0, 255]; colours continue beyond the outlines."""

    head: Float32[np.ndarray, "height width 4"]
    """Face, hair and ears."""
    torso: Float32[np.ndarray, "height width 4"]
    """Neck and clothes, continued behind the head."""


def split_person(
    image: UInt8[np.ndarray, "height width 3"], parsing: UInt8[np.ndarray, "height width"]
) -> PersonLayers:
    """Split a frame into head and torso by its parsing labels."""
    import cv2

    mask = class_mask(parsing, HEAD_CLASSES)
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _EDGE_BLUR)
    head = np.dstack([fill_smoothly(image, mask), 255 * alpha])
    return PersonLayers(head, torso_image(image, parsing).astype(np.float32))


def composite_person(
    layers: PersonLayers,
    background: UInt8[np.ndarray, "height width 3"],
    head_motion: Float[np.ndarray, "2 3"],
    body_motion: Float[np.ndarray, "2 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Warp torso and head of a reference frame and composite them over the background, the head on top.

    Args:
        layers: the reference frame's person.
        background: the scene without the person.
        head_motion: affine motion of the head from the reference frame, pixels.
        body_motion: affine motion of the body from the reference frame, pixels.
    """
    torso = _composite(background.astype(np.float32), layers.torso, body_motion)
    return np.round(np.clip(_composite(torso, layers.head, head_motion), 0, 255)).astype(np.uint8)


def _composite(
    backdrop: Float32[np.ndarray, "height width 3"],
    layer: Float32[np.ndarray, "height width 4"],
    motion: Float[np.ndarray, "2 3"],
) -> Float32[np.ndarray, "height width 3"]:
    """Warp a layer and composite it over a backdrop."""
    import cv2

    height, width = layer.shape[:2]
    warped = cv2.warpAffine(
        layer, center_map(motion), (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = warped[..., 3:] / 255
    return alpha * warped[..., :3] + (1 - alpha) * backdrop
