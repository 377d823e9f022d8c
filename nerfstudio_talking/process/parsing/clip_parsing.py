"""Parsing maps of a clip from landmarks, person masks, and the clip's own colours.

Each pixel outside the face oval takes the class that is most probable given its colour, its place in the head's frame
and the person mask. What the colours and places of a class are is learned from the clip itself in a few rounds. The
probabilities are carried from frame to frame along the optical flow, so that borders do not flicker, and are brought to
full size by a guided filter, so that they follow the edges of the image. Lips, eyes, brows and nose are outlined by
landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.face.outlines import oval_mask, paint_features
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.optical_flow import warp
from nerfstudio_talking.process.parsing.appearance_model import EARS, HAIR, NECK, View, posterior
from nerfstudio_talking.process.parsing.learning import learn_clip
from nerfstudio_talking.process.parsing.priors import LAYERS

_MEMORY = 0.6  # weight of the previous frames' probabilities
_MEMORY_ERROR = 12.0  # grey levels of difference along the flow at which memory fades
_GUIDE_RADIUS, _GUIDE_EPSILON = 2, 16.0
_SPECK = 0.0012  # of the image: smaller pieces of a class are noise
_IDS = np.array([CLASS_ID[name] for name in ("background", *LAYERS)], dtype=np.uint8)


def parse_clip(
    frames: Callable[[], Iterator[UInt8[np.ndarray, "height width 3"]]],
    landmarks: Float32[np.ndarray, "frames 478 2"],
    person_masks: UInt8[np.ndarray, "frames height width"],
) -> Iterator[UInt8[np.ndarray, "height width"]]:
    """Class ids (`semantics.PARSING_CLASSES`) of each frame of a clip of one person.

    Args:
        frames: gives the RGB frames from the start each time it is called; it is called twice.
        landmarks: FaceMesh points in pixels, (0, 0) the upper left corner of the image; NaN nowhere.
        person_masks: probability of a person in each pixel, 0 to 255; a memory map will do.

    Raises:
        TalkingError: the numbers of frames, landmarks and masks differ, or their sizes do.
    """
    _require(landmarks, person_masks)
    model = learn_clip(frames, landmarks, person_masks)
    memory: _Memory | None = None
    count = 0
    for index, frame in enumerate(frames()):
        view = View(frame, person_masks[index], landmarks[index])
        chances = posterior(model, view, index)
        memory = _Memory(view.grey, chances) if memory is None else memory.propagate(view.grey, chances)
        yield _full_size(view, memory.chances)
        count += 1
    if count != len(landmarks):
        raise TalkingError(
            "parsing", expected=f"{len(landmarks)} frames", found=f"{count}", hint="Track the clip again."
        )


def _require(landmarks: np.ndarray, masks: np.ndarray) -> None:
    if len(landmarks) != len(masks):
        raise TalkingError(
            "person masks", expected=f"{len(landmarks)}, one per frame", found=f"{len(masks)}", hint="Segment again."
        )
    if landmarks.shape[1:] != (478, 2) or not np.isfinite(landmarks).all():
        raise TalkingError(
            "landmarks",
            expected="478 finite points of two coordinates in each frame",
            found=f"shape {landmarks.shape}, {int((~np.isfinite(landmarks)).sum())} not finite",
            hint="Fill frames without a face from their neighbours.",
        )


@dataclass(frozen=True)
class _Memory:
    """The probabilities so far, carried along the optical flow."""

    grey: UInt8[np.ndarray, "height width"]
    chances: Float32[np.ndarray, "height width 6"]

    def propagate(self, grey: np.ndarray, chances: np.ndarray) -> _Memory:
        """Blend a new frame's probabilities with the old ones moved to where their pixels went."""
        import cv2

        finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        flow = finder.calc(grey, self.grey, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
        error = cv2.GaussianBlur(cv2.absdiff(grey, warp(self.grey, flow)).astype(np.float32), (0, 0), 1.5)
        trust = _MEMORY * np.exp(-((error / _MEMORY_ERROR) ** 2))[..., None]
        return _Memory(grey, chances + (warp(self.chances, flow) - chances) * trust)


def _full_size(view: View, chances: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    """Probabilities to class ids at full size: guided by the image, features painted on top."""
    import cv2

    chances = _without_islands(cv2.GaussianBlur(chances, (0, 0), 0.8), view)
    window = (2 * _GUIDE_RADIUS + 1,) * 2
    guide = view.grey.astype(np.float32)
    mean = cv2.boxFilter(guide, -1, window)
    variance = cv2.boxFilter(np.square(guide), -1, window) - mean * mean
    mean_p = cv2.boxFilter(chances, -1, window)
    covariance = cv2.boxFilter(np.multiply(chances, guide[..., None]), -1, window) - mean[..., None] * mean_p
    slope = np.divide(covariance, (variance + _GUIDE_EPSILON)[..., None])
    offset = np.subtract(mean_p, slope * mean[..., None])
    slope, offset = cv2.boxFilter(slope, -1, window), cv2.boxFilter(offset, -1, window)
    full = cv2.cvtColor(view.frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (view.width, view.height)
    best = np.full(full.shape, -np.inf, dtype=np.float32)
    ids = np.zeros(full.shape, dtype=np.uint8)
    for layer in range(chances.shape[2]):
        value = cv2.resize(slope[..., layer], size, interpolation=cv2.INTER_LINEAR)
        value *= full
        value += cv2.resize(offset[..., layer], size, interpolation=cv2.INTER_LINEAR)
        better = value > best
        np.copyto(best, value, where=better)
        ids[better] = _IDS[layer]
    return _finish(ids, view)


def _without_islands(chances: np.ndarray, view: View) -> np.ndarray:
    """Give specks, hair that does not come from the head, and whatever is apart from the person to the next best."""
    import cv2

    best, labels = chances[..., 0].copy(), np.zeros(chances.shape[:2], dtype=np.uint8)
    for layer in range(1, chances.shape[2]):
        better = chances[..., layer] > best
        np.copyto(best, chances[..., layer], where=better)
        labels[better] = layer
    person = cv2.connectedComponents((labels > 0).view(np.uint8), connectivity=4)[1]
    middle = np.bincount(person[view.oval], minlength=2)
    middle[0] = 0
    apart = (labels > 0) & (person != middle.argmax())
    chances[apart] = np.eye(chances.shape[2], dtype=np.float32)[0]
    least = _SPECK * labels.size
    for layer in range(chances.shape[2]):
        _, pieces, stats, _ = cv2.connectedComponentsWithStats((labels == layer).view(np.uint8), connectivity=4)
        unwanted = stats[:, cv2.CC_STAT_AREA] < (least / 3 if layer == EARS else least)
        if layer == NECK:
            unwanted |= stats[:, cv2.CC_STAT_AREA] < 0.25 * stats[1:, cv2.CC_STAT_AREA].max(initial=0)
        if layer == HAIR:
            unwanted |= stats[:, cv2.CC_STAT_TOP] > view.mouth_row
        unwanted[0] = False
        if unwanted.any():
            chances[..., layer] *= np.where(unwanted, 0.0, 1.0).astype(np.float32)[pieces]
    return chances


def _finish(ids: np.ndarray, view: View) -> UInt8[np.ndarray, "height width"]:
    """Apply the outlines that landmarks give: the oval, then the features in it."""
    oval = oval_mask(view.landmarks, view.height, view.width)
    table = np.arange(256, dtype=np.uint8)
    table[[CLASS_ID[name] for name in ("neck", "cloth", "ears")]] = CLASS_ID["skin"]
    ids[oval] = table[ids[oval]]
    paint_features(ids, view.landmarks)
    return ids
