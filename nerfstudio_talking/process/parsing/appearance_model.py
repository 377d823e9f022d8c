"""The model that parses a clip: colours and positions of the classes, and their probabilities in a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Float32

from nerfstudio_talking.face.landmark_sets import MOUTH_CORNERS
from nerfstudio_talking.face.outlines import HeadAlignment, oval_mask
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.inpainting import center_map
from nerfstudio_talking.process.parsing.colour_model import BackgroundModel, colour_cells
from nerfstudio_talking.process.parsing.priors import LAYERS, LEAST_PRIOR

SKIN, EARS, NECK, CLOTH, HAIR = range(1, 6)
"""Channels of the probabilities of a pixel; 0 is the background."""

_WORKING_SIDE = 256
_COLOUR_WEIGHT = 0.7  # neighbouring pixels are correlated: the colour of one counts for less than a whole sample
_BEARD = 0.13  # reach of a beard below the jaw, in half widths of the face


@dataclass(frozen=True)
class ClipModel:
    """Colours and positions of the classes, learned from the clip."""

    heads: HeadAlignment
    background: BackgroundModel
    tables: Float32[np.ndarray, "cells 5"]
    """Log density of each colour cell in each of `LAYERS`."""
    outer: Float32[np.ndarray, "128 128 5"]
    """Prior probability of `LAYERS` outside the face oval, in the atlas."""
    inner: Float32[np.ndarray, "128 128"]
    """Prior probability of hair inside the face oval, in the atlas."""
    bare: Float32[np.ndarray, "128 128"]
    """1 on skin without beard or hair, in the atlas."""
    skin: tuple[Float32[np.ndarray, " cells"], Float32[np.ndarray, " cells"]]
    """Probability of skin for each colour cell: in the light of the face, and in its shadow."""
    torso: Float32[np.ndarray, "height width 2"] | None = None
    """Factors of the priors of neck and clothes at each pixel, at working size; None at first."""


class View:
    """A frame at working size: colours, person mask, face oval and distances from it."""

    def __init__(self, frame: np.ndarray, mask: np.ndarray, landmarks: np.ndarray) -> None:
        import cv2

        if frame.shape[:2] != mask.shape:
            raise TalkingError(
                "person masks", expected=f"images of {frame.shape[:2]}", found=f"{mask.shape}", hint="Segment again."
            )
        self.frame, self.landmarks = frame, landmarks
        self.height, self.width = frame.shape[:2]
        self.scale = min(1.0, _WORKING_SIDE / max(self.height, self.width))
        size = (max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale)))
        self.small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if self.scale < 1 else frame
        self.lab = cv2.cvtColor(cv2.GaussianBlur(self.small, (3, 3), 0.6), cv2.COLOR_RGB2LAB)
        self.grey = cv2.cvtColor(self.small, cv2.COLOR_RGB2GRAY)
        self.cells = colour_cells(self.lab)
        raw = cv2.resize(mask, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        # the segmenter's border is a few pixels off: blur it, so that colour decides within that band only
        self.person = cv2.GaussianBlur(raw, (0, 0), 2.0)
        self.person = np.clip((self.person - 0.02) / 0.96, 0, 1)
        self.oval = oval_mask(landmarks, size[1], size[0], self.scale)
        away = cv2.distanceTransform((~self.oval).view(np.uint8), cv2.DIST_L2, 3)
        away *= 2 / (_BEARD * max(float(np.ptp(landmarks[:, 0])) * self.scale, 1.0))
        self.beard = 0.5 * np.exp(-away * away)
        self.mouth_row = float(landmarks[list(MOUTH_CORNERS), 1].mean() * self.scale)
        self.beard[: max(round(self.mouth_row), 0)] = 0
        self.depth = cv2.distanceTransform(self.oval.view(np.uint8), cv2.DIST_L2, 3)

    def warp(self, atlas: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """Warp an atlas into this frame, at working size."""
        import cv2

        size = (self.lab.shape[1], self.lab.shape[0])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(atlas, center_map(matrix), size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def posterior(model: ClipModel, view: View, index: int) -> Float32[np.ndarray, "height width 6"]:
    """Probability of background and each of `LAYERS` at working size."""
    matrix = model.heads.to_atlas(index, view.scale)
    prior = np.concatenate(
        [view.warp(np.ascontiguousarray(model.outer[..., :3]), matrix), view.warp(model.outer[..., 3:], matrix)], axis=2
    )
    if model.torso is not None:
        prior[..., NECK - 1 : CLOTH] *= model.torso
    # a beard reaches below the landmarks' jaw
    prior[..., SKIN - 1] += view.beard
    hair = view.warp(model.inner, matrix)[view.oval]
    inside = np.full((len(hair), len(LAYERS)), LEAST_PRIOR**2, dtype=np.float32)
    inside[:, SKIN - 1], inside[:, HAIR - 1] = 1 - hair, hair
    prior[view.oval] = inside
    # the middle of the face is the person, whatever its colours suggest
    person = np.maximum(view.person, np.minimum(view.depth / (8.0 * view.scale + 2.0), 1.0))
    classes = 1 + len(LAYERS)
    joint = np.empty((*view.oval.shape, classes), dtype=np.float32)
    joint[..., 0] = model.background.log_density(view.lab, view.cells) * _COLOUR_WEIGHT + np.log(1 - person + 1e-6)
    joint[..., 1:] = model.tables[view.cells] * _COLOUR_WEIGHT + np.log(prior * (person + 1e-6)[..., None])
    # over six channels, sums and maxima channel by channel are several times faster than along the last axis
    joint -= reduce(np.maximum, (joint[..., k] for k in range(classes)))[..., None]
    np.exp(joint, out=joint)
    joint /= (joint @ np.ones(classes, dtype=np.float32))[..., None]
    return joint
