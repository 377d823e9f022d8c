"""Parsing maps of a clip from landmarks, person masks, and the clip's own colours.

Each pixel outside the face oval takes the class that is most probable given its colour, its position in the head's
frame and the person mask. Colours and positions of the classes are learned from the clip itself in a few rounds. The
probabilities are warped from frame to frame along the optical flow, so that borders do not flicker, and upsampled to
full size by a guided filter, so that they follow the edges of the image. Lips, eyes, brows and nose are outlined by
landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.face.outlines import oval_mask
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.optical_flow import warp
from nerfstudio_talking.process.parsing.appearance_model import EARS, HAIR, NECK, View, posterior
from nerfstudio_talking.process.parsing.face_features import paint_features
from nerfstudio_talking.process.parsing.learning import learn_clip
from nerfstudio_talking.process.parsing.priors import LAYERS

_MEMORY = 0.6  # weight of the previous frames' probabilities
_MEMORY_ERROR = 12.0  # grey levels of difference along the flow at which that weight fades
_GUIDE_RADIUS, _GUIDE_EPSILON = 2, 16.0
_SPECK = 0.0012  # share of the image: smaller components of a class are noise
_IDS = np.array([CLASS_ID[name] for name in ("background", *LAYERS)], dtype=np.uint8)


def parse_clip(
    frames: Callable[[], Iterator[UInt8[np.ndarray, "height width 3"]]],
    landmarks: Float32[np.ndarray, "frames 478 2"],
    person_masks: UInt8[np.ndarray, "frames height width"],
) -> Iterator[UInt8[np.ndarray, "height width"]]:
    """Parsing labels (`parsing_labels.PARSING_CLASSES`) of each frame of a clip of one person.

    Args:
        frames: returns an iterator over the RGB frames; it is called twice.
        landmarks: FaceMesh points in pixels, (0, 0) the upper left corner of the image; no NaN.
        person_masks: probability of a person in each pixel, 0 to 255; may be a memory map.

    Raises:
        TalkingError: the numbers of frames, landmarks and masks differ, or their sizes do.
    """
    _check_input(landmarks, person_masks)
    model = learn_clip(frames, landmarks, person_masks)
    memory: _Memory | None = None
    count = 0
    for index, frame in enumerate(frames()):
        view = View(frame, person_masks[index], landmarks[index])
        probabilities = posterior(model, view, index)
        memory = _Memory(view.grey, probabilities) if memory is None else memory.propagate(view.grey, probabilities)
        yield _full_size(view, memory.probabilities)
        count += 1
    if count != len(landmarks):
        raise TalkingError(
            "parsing", expected=f"{len(landmarks)} frames", found=f"{count}", hint="Track the clip again."
        )


def _check_input(landmarks: np.ndarray, masks: np.ndarray) -> None:
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
    """The probabilities of the frames so far, accumulated along the optical flow."""

    grey: UInt8[np.ndarray, "height width"]
    probabilities: Float32[np.ndarray, "height width 6"]

    def propagate(self, grey: np.ndarray, probabilities: np.ndarray) -> _Memory:
        """Blend a new frame's probabilities with the old ones, warped along the flow."""
        import cv2

        estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        flow = estimator.calc(grey, self.grey, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
        error = cv2.GaussianBlur(cv2.absdiff(grey, warp(self.grey, flow)).astype(np.float32), (0, 0), 1.5)
        trust = _MEMORY * np.exp(-((error / _MEMORY_ERROR) ** 2))[..., None]
        return _Memory(grey, probabilities + (warp(self.probabilities, flow) - probabilities) * trust)


def _full_size(view: View, probabilities: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    """Class ids at full size: probabilities upsampled by a guided filter, with features painted on top."""
    import cv2

    probabilities = _remove_islands(cv2.GaussianBlur(probabilities, (0, 0), 0.8), view)
    window = (2 * _GUIDE_RADIUS + 1,) * 2
    guide = view.grey.astype(np.float32)
    mean = cv2.boxFilter(guide, -1, window)
    variance = cv2.boxFilter(np.square(guide), -1, window) - mean * mean
    mean_p = cv2.boxFilter(probabilities, -1, window)
    covariance = cv2.boxFilter(np.multiply(probabilities, guide[..., None]), -1, window) - mean[..., None] * mean_p
    slope = np.divide(covariance, (variance + _GUIDE_EPSILON)[..., None])
    offset = np.subtract(mean_p, slope * mean[..., None])
    slope, offset = cv2.boxFilter(slope, -1, window), cv2.boxFilter(offset, -1, window)
    full = cv2.cvtColor(view.frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (view.width, view.height)
    best = np.full(full.shape, -np.inf, dtype=np.float32)
    ids = np.zeros(full.shape, dtype=np.uint8)
    for layer in range(probabilities.shape[2]):
        value = cv2.resize(slope[..., layer], size, interpolation=cv2.INTER_LINEAR)
        value *= full
        value += cv2.resize(offset[..., layer], size, interpolation=cv2.INTER_LINEAR)
        better = value > best
        np.copyto(best, value, where=better)
        ids[better] = _IDS[layer]
    return _apply_outlines(ids, view)


def _remove_islands(probabilities: np.ndarray, view: View) -> np.ndarray:
    """Zero the probabilities of specks, of hair apart from the head, and of what is not connected to the person."""
    import cv2

    best, labels = probabilities[..., 0].copy(), np.zeros(probabilities.shape[:2], dtype=np.uint8)
    for layer in range(1, probabilities.shape[2]):
        better = probabilities[..., layer] > best
        np.copyto(best, probabilities[..., layer], where=better)
        labels[better] = layer
    person = cv2.connectedComponents((labels > 0).view(np.uint8), connectivity=4)[1]
    in_oval = np.bincount(person[view.oval], minlength=2)
    in_oval[0] = 0
    apart = (labels > 0) & (person != in_oval.argmax())
    probabilities[apart] = np.eye(probabilities.shape[2], dtype=np.float32)[0]
    least = _SPECK * labels.size
    for layer in range(probabilities.shape[2]):
        _, pieces, stats, _ = cv2.connectedComponentsWithStats((labels == layer).view(np.uint8), connectivity=4)
        unwanted = stats[:, cv2.CC_STAT_AREA] < (least / 3 if layer == EARS else least)
        if layer == NECK:
            unwanted |= stats[:, cv2.CC_STAT_AREA] < 0.25 * stats[1:, cv2.CC_STAT_AREA].max(initial=0)
        if layer == HAIR:
            unwanted |= stats[:, cv2.CC_STAT_TOP] > view.mouth_row
        unwanted[0] = False
        if unwanted.any():
            probabilities[..., layer] *= np.where(unwanted, 0.0, 1.0).astype(np.float32)[pieces]
    return probabilities


def _apply_outlines(ids: np.ndarray, view: View) -> UInt8[np.ndarray, "height width"]:
    """Apply the outlines from the landmarks: the face oval, then the features in it."""
    oval = oval_mask(view.landmarks, view.height, view.width)
    table = np.arange(256, dtype=np.uint8)
    table[[CLASS_ID[name] for name in ("neck", "cloth", "ears")]] = CLASS_ID["skin"]
    ids[oval] = table[ids[oval]]
    paint_features(ids, view.landmarks)
    return ids
