"""Neck and clothes of a frame as a layer of its own, with what the head hides filled in."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES, class_mask
from nerfstudio_talking.media.inpainting import fill_smoothly

# Lengths as shares of the image's height.
_NECK_REACH, _CLOTH_REACH, _HAIR_REACH = 0.11, 0.02, 0.25  # upwards under the head; clothes under long hair
_BORDER, _BLUR = 0.012, 0.003
_FACE = ("skin", "nose", "lips", "inner_mouth")


def torso_image(
    frame: UInt8[np.ndarray, "height width 3"], ids: UInt8[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 4"]:
    """Cut out neck and clothes of a frame and continue them upwards under the head.

    Args:
        frame: an RGB frame.
        ids: its parsing labels.

    Returns:
        RGBA; alpha is 255 on neck and clothes and where they continue under the head, with a soft edge.
    """
    import cv2

    height = ids.shape[0]
    neck, cloth = class_mask(ids, ("neck",)), class_mask(ids, ("cloth",))
    head = class_mask(ids, HEAD_CLASSES)
    face_rows = np.flatnonzero(class_mask(ids, _FACE).any(axis=1))
    chin = face_rows[-1] if len(face_rows) else 0
    under_neck = head & _upwards(neck, round(_NECK_REACH * height))
    under_cloth = head & _upwards(cloth, round(_CLOTH_REACH * height))
    under_hair = head & _upwards(cloth, round(_HAIR_REACH * height))
    under_hair[: chin + 1] = False
    # close to the head lie its shadow, beard and blurred border: take no colour from there
    border = _disc(_BORDER * height)
    clear = cv2.dilate(head.view(np.uint8), border) == 0
    inner = cv2.erode((neck | cloth).view(np.uint8), _disc(_BLUR * height), borderValue=(1,)) > 0
    alpha = neck | cloth | under_neck | under_cloth | under_hair
    colours = fill_smoothly(frame, _some(inner & clear, inner, neck | cloth))
    skin = fill_smoothly(frame, _some(neck & inner & clear, neck))
    hidden = (neck & ~clear) | (under_neck & ~cloth)
    if neck.any():
        colours[hidden] = skin[hidden]
    kept = inner & ~hidden
    colours[kept] = frame[kept]
    soft = cv2.GaussianBlur(alpha.astype(np.float32), (0, 0), max(0.6, _BLUR * height / 2))
    return np.dstack([np.clip(np.rint(colours), 0, 255), np.rint(soft * 255)]).astype(np.uint8)


def _some(*masks: np.ndarray) -> np.ndarray:
    """The first mask that is not empty, or the last."""
    return next((mask for mask in masks if mask.any()), masks[-1])


def _disc(radius: float) -> np.ndarray:
    import cv2

    side = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _upwards(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask grown straight up."""
    import cv2

    # OpenCV's dilation looks from the anchor over the kernel: anchored on top, it looks down the column
    return cv2.dilate(mask.view(np.uint8), np.ones((pixels + 1, 1), np.uint8), anchor=(0, 0)) > 0
