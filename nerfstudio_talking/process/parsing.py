"""Parsing maps of a clip from landmarks, person masks, and the clip's own colours.

Each pixel outside the face oval takes the class that is most probable given its colour, its place in the head's frame
and the person mask. What the colours and places of a class are is learned from the clip itself in a few rounds. The
probabilities are carried from frame to frame along the optical flow, so that borders do not flicker, and are brought to
full size by a guided filter, so that they follow the edges of the picture. Lips, eyes, brows and nose are outlined by
landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from jaxtyping import Float32, UInt8

from nerfstudio_talking.errors import TalkingError
from nerfstudio_talking.process.colour_model import BackgroundModel, background_model, colour_cells, log_density
from nerfstudio_talking.process.face_regions import (
    ATLAS_SIZE,
    HeadFrames,
    align_heads,
    oval_mask,
    paint_features,
)
from nerfstudio_talking.process.parsing_priors import (
    LAYERS,
    LEAST_PRIOR,
    bare_face,
    inner_hair_prior,
    learned_prior,
    outer_prior,
    torso_prior,
)
from nerfstudio_talking.semantics import CLASS_ID

_LOW_SIDE = 256
_SAMPLES = 32
_ROUNDS = 3
_CERTAIN_PERSON, _CERTAIN_BACKGROUND = 0.95, 0.02
_MEMORY = 0.6  # weight of the previous frames' probabilities
_MEMORY_ERROR = 12.0  # grey levels of difference along the flow at which memory fades
_COLOUR_WEIGHT = 0.7  # neighbouring pixels repeat each other: one pixel's colour counts for less than a whole sample
_BEARD = 0.13  # reach of a beard below the jaw, in half widths of the face
_GUIDE_RADIUS, _GUIDE_EPSILON = 2, 16.0

_IDS = np.array([CLASS_ID[name] for name in ("background", *LAYERS)], dtype=np.uint8)
_SKIN, _EARS, _NECK, _CLOTH, _HAIR = range(1, 6)


_NOTHING = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class ClipModel:
    """What the clip taught about its colours and places."""

    heads: HeadFrames
    background: BackgroundModel
    tables: Float32[np.ndarray, "cells 5"]
    """Log density of each colour cell in each of `LAYERS`."""
    outer: Float32[np.ndarray, "128 128 5"]
    """Prior outside the oval, in the atlas."""
    inner: Float32[np.ndarray, "128 128"]
    """Prior of hair inside the oval, in the atlas."""
    bare: Float32[np.ndarray, "128 128"]
    """1 where the face grows no beard, in the atlas."""
    skin: tuple[Float32[np.ndarray, " cells"], Float32[np.ndarray, " cells"]] = (_NOTHING, _NOTHING)
    """How sure each colour cell is to be skin: in the light of the face, and in its shadow."""
    torso: Float32[np.ndarray, "height width 2"] | None = None
    """Factors of the priors of neck and clothes in the picture, at working size."""


def parse_clip(
    frames: Callable[[], Iterator[UInt8[np.ndarray, "height width 3"]]],
    landmarks: Float32[np.ndarray, "frames 478 2"],
    person_masks: UInt8[np.ndarray, "frames height width"],
) -> Iterator[UInt8[np.ndarray, "height width"]]:
    """Class ids (`semantics.PARSING_CLASSES`) of each frame of a clip of one person.

    Args:
        frames: gives the RGB frames from the start each time it is called; it is called twice.
        landmarks: FaceMesh points in pixels, (0, 0) the upper left corner of the picture; NaN nowhere.
        person_masks: probability of a person in each pixel, 0 to 255; a memory map will do.

    Raises:
        TalkingError: the numbers of frames, landmarks and masks differ, or their sizes do.
    """
    _require(landmarks, person_masks)
    model = _learn(frames, landmarks, person_masks)
    memory: _Memory | None = None
    count = 0
    for index, frame in enumerate(frames()):
        view = _View(frame, person_masks[index], landmarks[index])
        posterior = _posterior(model, view, index)
        memory = _Memory(view.grey, posterior) if memory is None else memory.carry(view.grey, posterior)
        yield _full_size(view, memory.posterior)
        count += 1
    if count != len(landmarks):
        raise TalkingError(
            "parsing", expected=f"{len(landmarks)} frames", found=f"{count}", mend="Track the clip again."
        )


def _require(landmarks: np.ndarray, masks: np.ndarray) -> None:
    if len(landmarks) != len(masks):
        raise TalkingError(
            "person masks", expected=f"{len(landmarks)}, one per frame", found=f"{len(masks)}", mend="Segment again."
        )
    if landmarks.shape[1:] != (478, 2) or not np.isfinite(landmarks).all():
        raise TalkingError(
            "landmarks",
            expected="478 finite points of two coordinates in each frame",
            found=f"shape {landmarks.shape}, {int((~np.isfinite(landmarks)).sum())} not finite",
            mend="Fill frames without a face from their neighbours.",
        )


class _View:
    """A frame with what parsing needs of it, at working size."""

    def __init__(self, frame: np.ndarray, mask: np.ndarray, landmarks: np.ndarray) -> None:
        import cv2

        if frame.shape[:2] != mask.shape:
            raise TalkingError(
                "person masks", expected=f"pictures of {frame.shape[:2]}", found=f"{mask.shape}", mend="Segment again."
            )
        self.frame, self.landmarks = frame, landmarks
        self.height, self.width = frame.shape[:2]
        self.scale = min(1.0, _LOW_SIDE / max(self.height, self.width))
        size = (max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale)))
        self.small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if self.scale < 1 else frame
        self.lab = cv2.cvtColor(cv2.GaussianBlur(self.small, (3, 3), 0.6), cv2.COLOR_RGB2LAB)
        self.grey = cv2.cvtColor(self.small, cv2.COLOR_RGB2GRAY)
        self.cells = colour_cells(self.lab)
        raw = cv2.resize(mask, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        # the segmenter's border is a few pixels off: leave a band for colour to decide, none elsewhere
        self.person = cv2.GaussianBlur(raw, (0, 0), 2.0)
        self.person = np.clip((self.person - 0.02) / 0.96, 0, 1)
        self.oval = oval_mask(landmarks, size[1], size[0], self.scale)
        away = cv2.distanceTransform((~self.oval).view(np.uint8), cv2.DIST_L2, 3)
        away *= 2 / (_BEARD * max(float(np.ptp(landmarks[:, 0])) * self.scale, 1.0))
        self.beard = 0.5 * np.exp(-away * away)
        self.mouth_row = float(landmarks[[61, 291], 1].mean() * self.scale)
        self.beard[: max(round(self.mouth_row), 0)] = 0
        self.depth = cv2.distanceTransform(self.oval.view(np.uint8), cv2.DIST_L2, 3)

    def warp(self, atlas: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """An atlas seen from this frame, at working size."""
        import cv2

        size = (self.lab.shape[1], self.lab.shape[0])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(atlas, _centred(matrix), size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _centred(matrix: np.ndarray) -> np.ndarray:
    """An affine map between corner-origin coordinates as OpenCV wants it, between pixel centres."""
    shifted = matrix.astype(np.float64).copy()
    shifted[:, 2] += shifted[:, :2] @ (0.5, 0.5) - 0.5
    return shifted


def _posterior(model: ClipModel, view: _View, index: int) -> Float32[np.ndarray, "height width 6"]:
    """Probability of background and each of `LAYERS` at working size."""
    matrix = model.heads.to_atlas(index, view.scale)
    prior = np.concatenate(
        [view.warp(np.ascontiguousarray(model.outer[..., :3]), matrix), view.warp(model.outer[..., 3:], matrix)], axis=2
    )
    if model.torso is not None:
        prior[..., _NECK - 1 : _CLOTH] *= model.torso
    # a beard reaches below the landmarks' jaw
    prior[..., _SKIN - 1] += view.beard
    hair = view.warp(model.inner, matrix)[view.oval]
    inside = np.full((len(hair), len(LAYERS)), LEAST_PRIOR**2, dtype=np.float32)
    inside[:, _SKIN - 1], inside[:, _HAIR - 1] = 1 - hair, hair
    prior[view.oval] = inside
    # nothing behind the middle of the face, however much the colours suggest it
    person = np.maximum(view.person, np.minimum(view.depth / (8.0 * view.scale + 2.0), 1.0))
    joint = np.empty((*view.oval.shape, 1 + len(LAYERS)), dtype=np.float32)
    joint[..., 0] = model.background.log_density(view.lab, view.cells) * _COLOUR_WEIGHT + np.log(1 - person + 1e-6)
    joint[..., 1:] = model.tables[view.cells] * _COLOUR_WEIGHT + np.log(prior * (person + 1e-6)[..., None])
    # over six channels, sums and maxima plane by plane are several times faster than along the last axis
    planes = range(1, joint.shape[2])
    joint -= reduce(np.maximum, (joint[..., k] for k in planes), joint[..., 0])[..., None]
    np.exp(joint, out=joint)
    joint /= (joint @ np.ones(joint.shape[2], dtype=np.float32))[..., None]
    return joint


@dataclass(frozen=True)
class _Memory:
    """The probabilities so far, carried along the optical flow."""

    grey: UInt8[np.ndarray, "height width"]
    posterior: Float32[np.ndarray, "height width 6"]

    def carry(self, grey: np.ndarray, posterior: np.ndarray) -> _Memory:
        """Blend a new frame's probabilities with the old ones moved to where their pixels went."""
        import cv2

        finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        flow = finder.calc(grey, self.grey, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
        rows, columns = np.indices(grey.shape, dtype=np.float32)
        where = np.stack([columns + flow[..., 0], rows + flow[..., 1]], axis=2)
        old_grey = cv2.remap(self.grey, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        halves = [
            cv2.remap(np.ascontiguousarray(part), where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for part in (self.posterior[..., :3], self.posterior[..., 3:])
        ]
        error = cv2.GaussianBlur(cv2.absdiff(grey, old_grey).astype(np.float32), (0, 0), 1.5)
        trust = _MEMORY * np.exp(-((error / _MEMORY_ERROR) ** 2))[..., None]
        return _Memory(grey, posterior + (np.concatenate(halves, axis=2) - posterior) * trust)


def _full_size(view: _View, posterior: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    """Probabilities to class ids at full size: guided by the picture, features painted on top."""
    import cv2

    posterior = _without_islands(cv2.GaussianBlur(posterior, (0, 0), 0.8), view)
    window = (2 * _GUIDE_RADIUS + 1,) * 2
    guide = view.grey.astype(np.float32)
    mean = cv2.boxFilter(guide, -1, window)
    variance = cv2.boxFilter(guide * guide, -1, window) - mean * mean
    mean_p = cv2.boxFilter(posterior, -1, window)
    slope = (cv2.boxFilter(posterior * guide[..., None], -1, window) - mean[..., None] * mean_p) / (
        variance + _GUIDE_EPSILON
    )[..., None]
    offset = mean_p - slope * mean[..., None]
    slope, offset = cv2.boxFilter(slope, -1, window), cv2.boxFilter(offset, -1, window)
    full = cv2.cvtColor(view.frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (view.width, view.height)
    best = np.full(full.shape, -np.inf, dtype=np.float32)
    ids = np.zeros(full.shape, dtype=np.uint8)
    for layer in range(posterior.shape[2]):
        value = cv2.resize(slope[..., layer], size, interpolation=cv2.INTER_LINEAR)
        value *= full
        value += cv2.resize(offset[..., layer], size, interpolation=cv2.INTER_LINEAR)
        better = value > best
        np.copyto(best, value, where=better)
        ids[better] = _IDS[layer]
    return _finish(ids, view)


def _without_islands(posterior: np.ndarray, view: _View) -> np.ndarray:
    """Give specks, hair that does not come from the head, and whatever is apart from the person to the next best."""
    import cv2

    best, labels = posterior[..., 0].copy(), np.zeros(posterior.shape[:2], dtype=np.uint8)
    for layer in range(1, posterior.shape[2]):
        better = posterior[..., layer] > best
        np.copyto(best, posterior[..., layer], where=better)
        labels[better] = layer
    person = cv2.connectedComponents((labels > 0).view(np.uint8), connectivity=4)[1]
    middle = np.bincount(person[view.oval], minlength=2)
    middle[0] = 0
    apart = (labels > 0) & (person != middle.argmax())
    posterior[apart] = np.eye(posterior.shape[2], dtype=np.float32)[0]
    least = 0.0012 * labels.size
    for layer in range(posterior.shape[2]):
        _, pieces, stats, _ = cv2.connectedComponentsWithStats((labels == layer).view(np.uint8), connectivity=4)
        unwanted = stats[:, cv2.CC_STAT_AREA] < (least / 3 if layer == _EARS else least)
        if layer == _NECK:
            unwanted |= stats[:, cv2.CC_STAT_AREA] < 0.25 * stats[1:, cv2.CC_STAT_AREA].max(initial=0)
        if layer == _HAIR:
            unwanted |= stats[:, cv2.CC_STAT_TOP] > view.mouth_row
        unwanted[0] = False
        if unwanted.any():
            posterior[..., layer] *= np.where(unwanted, 0.0, 1.0).astype(np.float32)[pieces]
    return posterior


def _finish(ids: np.ndarray, view: _View) -> UInt8[np.ndarray, "height width"]:
    """Apply the outlines that landmarks give: the oval, then the features in it."""
    oval = oval_mask(view.landmarks, view.height, view.width)
    table = np.arange(256, dtype=np.uint8)
    table[[CLASS_ID[name] for name in ("neck", "cloth", "ears")]] = CLASS_ID["skin"]
    ids[oval] = table[ids[oval]]
    paint_features(ids, view.landmarks)
    return ids


def _learn(frames: Callable[[], Iterator[np.ndarray]], landmarks: np.ndarray, masks: np.ndarray) -> ClipModel:
    """Learn colours and places from a few frames spread over the clip."""
    import cv2

    heads = align_heads(landmarks)
    chosen = set(np.unique(np.linspace(0, len(landmarks) - 1, _SAMPLES).round().astype(int)).tolist())
    views = [(i, _View(frame, masks[i], landmarks[i])) for i, frame in enumerate(frames()) if i in chosen]
    labs = np.stack([view.lab for _, view in views])
    cells = np.stack([view.cells for _, view in views])
    margin = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    empty = np.stack([cv2.dilate(view.person, margin) < _CERTAIN_BACKGROUND for _, view in views])
    core = np.stack([cv2.erode(view.person, margin) > _CERTAIN_PERSON for _, view in views])
    background = background_model(labs, empty, cells)
    model = ClipModel(
        heads,
        background,
        np.zeros((0, len(LAYERS)), np.float32),
        outer_prior(heads.template),
        inner_hair_prior(heads.template),
        bare_face(heads.template),
    )
    model = replace(model, skin=_skin_likeness(model, views, cells, core))
    model = replace(model, tables=_first_tables(model, views, cells, core))
    hand = model.outer
    for _ in range(_ROUNDS):
        mass, torso = np.zeros_like(hand), np.zeros((*cells.shape[1:], 2), dtype=np.float32)
        weights = np.empty((*cells.shape, len(LAYERS)), dtype=np.float32)
        for row, (index, view) in enumerate(views):
            posterior = _posterior(model, view, index)
            weights[row] = posterior[..., 1:]
            torso += posterior[..., _NECK : _CLOTH + 1]
            matrix = cv2.invertAffineTransform(_centred(heads.to_atlas(index, view.scale)))
            outside = np.where(view.oval[..., None], 0, posterior[..., 1:])
            for part in (slice(0, 3), slice(3, 5)):
                mass[..., part] += cv2.warpAffine(
                    np.ascontiguousarray(outside[..., part]), matrix, (ATLAS_SIZE, ATLAS_SIZE),
                    flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP,
                )  # fmt: skip
        tables = _tables(model, cells[core], weights[core])
        model = replace(model, tables=tables, outer=learned_prior(hand, mass), torso=torso_prior(torso))
    return model


def _skin_likeness(
    model: ClipModel, views: list[tuple[int, _View]], cells: np.ndarray, core: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How sure each colour cell is to be skin of this person, 0 to 1: in the light of the face, and in its shadow."""
    bare = np.zeros(cells.shape, dtype=bool)
    for row, (index, view) in enumerate(views):
        upright = view.warp(model.bare, model.heads.to_atlas(index, view.scale)) > 0.5
        features = np.zeros(view.oval.shape, dtype=np.uint8)
        paint_features(features, view.landmarks * view.scale)
        bare[row] = upright & view.oval & (view.depth > 3) & (features == 0)
    person = np.exp(log_density(cells[core]))
    lit, shaded = (np.exp(log_density(cells[bare], blur=(light, 1.0, 1.0))) for light in (3.0, 5.0))
    return lit / (lit + 0.5 * person), shaded / (shaded + 0.2 * person)


def _first_tables(
    model: ClipModel, views: list[tuple[int, _View]], cells: np.ndarray, core: np.ndarray
) -> Float32[np.ndarray, "cells 5"]:
    """Colours to begin with: where anatomy is sure of the class, and of skin or not skin as the class demands."""
    weights = np.empty((*cells.shape, len(LAYERS)), dtype=np.float32)
    for row, (index, view) in enumerate(views):
        matrix = model.heads.to_atlas(index, view.scale)
        for part in (slice(0, 3), slice(3, 5)):
            weights[row][..., part] = view.warp(np.ascontiguousarray(model.outer[..., part]), matrix) ** 4
        weights[row][view.oval] = 0
        weights[row][..., _SKIN - 1][view.depth > 6] = 1.0
    lit = model.skin[0][cells]
    weights[..., _HAIR - 1] *= (1 - lit) ** 2
    weights[..., _CLOTH - 1] *= (1 - lit) ** 2
    return _tables(model, cells[core], weights[core])


def _tables(model: ClipModel, cells: np.ndarray, weights: np.ndarray) -> Float32[np.ndarray, "cells 5"]:
    """Log densities of the layers' colours. Ears are skin; a neck has the colours of skin or of its shadow."""
    weights = weights.copy()
    weights[:, _SKIN - 1] += weights[:, _EARS - 1]
    weights[:, _NECK - 1] *= model.skin[1][cells] ** 2
    weights[:, _NECK - 1] += 0.02 * weights[:, _SKIN - 1]  # a neck that never shows still has a colour
    columns = [log_density(cells, weights[:, layer]) for layer in range(len(LAYERS))]
    columns[_EARS - 1] = columns[_SKIN - 1]
    return np.stack(columns, axis=1)
