"""Reference images of neck and clothes, with what the head hides continued under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from scipy.spatial.transform import Rotation

from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES, class_mask
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.inpainting import fill_smoothly

# Lengths as shares of the image's height.
_NECK_REACH, _CLOTH_REACH, _HAIR_REACH = 0.11, 0.02, 0.25  # upwards under the head; clothes under long hair
_BORDER, _BLUR = 0.012, 0.003
_FACE = ("skin", "nose", "lips", "inner_mouth")
_RADIANS_PER_METRE = 2.0


def torso_references(
    frames: Callable[[], Iterator[UInt8[np.ndarray, "height width 3"]]],
    parsings: Callable[[], Iterator[UInt8[np.ndarray, "height width"]]],
    camera_to_worlds: Float32[np.ndarray, "frames 3 4"],
    count: int = 3,
) -> tuple[UInt8[np.ndarray, "references height width 4"], Int64[np.ndarray, " references"]]:
    """Images of the torso from frames whose head poses differ most.

    Alpha is 255 on neck and clothes with a soft edge, and under the head where they go on; elsewhere the colour is
    continued too, so that blending and filtering bring in nothing foreign.

    Args:
        frames: gives the RGB frames from the start.
        parsings: gives their class ids.
        camera_to_worlds: the recording camera in the head's frame.
        count: how many; fewer where the clip has fewer frames.

    Returns:
        RGBA images, and the frame that each shows, in rising order.

    Raises:
        TalkingError: fewer frames than poses.
    """
    chosen = spread_poses(camera_to_worlds, count)
    wanted = set(chosen.tolist())
    images = [
        torso_image(frame, ids) for index, (frame, ids) in enumerate(zip(frames(), parsings())) if index in wanted
    ]
    if len(images) != len(chosen):
        raise TalkingError(
            "torso",
            expected=f"frames {chosen.tolist()}",
            found=f"{len(images)} of them",
            hint="Process the clip again.",
        )
    return np.stack(images), chosen


def spread_poses(camera_to_worlds: Float32[np.ndarray, "frames 3 4"], count: int) -> Int64[np.ndarray, " chosen"]:
    """Frames spread over the head's poses: the one nearest to all first, then each the farthest from those chosen."""
    turns = Rotation.from_matrix(camera_to_worlds[:, :, :3].astype(np.float64))
    relative = (turns.mean().inv() * turns).as_rotvec()
    points = np.concatenate([relative, _RADIANS_PER_METRE * camera_to_worlds[:, :, 3]], axis=1)
    first = np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin()
    chosen = [int(first)]
    distance = np.linalg.norm(points - points[first], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.sort(np.array(chosen, dtype=np.int64))


def torso_image(
    frame: UInt8[np.ndarray, "height width 3"], ids: UInt8[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 4"]:
    """Neck and clothes of one frame, continued upwards under the head; RGBA."""
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
