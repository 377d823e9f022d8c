"""Learn colours and positions of the classes from a clip, in a few rounds of expectation and counting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from nerfstudio_talking.face.outlines import ATLAS_SIZE, align_heads
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.inpainting import center_map
from nerfstudio_talking.process.parsing.appearance_model import (
    CLOTH,
    EARS,
    HAIR,
    NECK,
    SKIN,
    ClipModel,
    View,
    posterior,
)
from nerfstudio_talking.process.parsing.colour_model import fit_background, log_density
from nerfstudio_talking.process.parsing.face_features import paint_features
from nerfstudio_talking.process.parsing.priors import (
    LAYERS,
    bare_skin,
    inner_hair_prior,
    outer_prior,
    torso_prior,
    update_prior,
)

_SAMPLES = 32
_ROUNDS = 3
_CERTAIN_PERSON, _CERTAIN_BACKGROUND = 0.95, 0.02


def learn_clip(frames: Callable[[], Iterator[np.ndarray]], landmarks: np.ndarray, masks: np.ndarray) -> ClipModel:
    """Learn the model from a few frames spread over the clip."""
    import cv2

    heads = align_heads(landmarks)
    chosen = set(np.unique(np.linspace(0, len(landmarks) - 1, _SAMPLES).round().astype(int)).tolist())
    views = [(i, View(frame, masks[i], landmarks[i])) for i, frame in enumerate(frames()) if i in chosen]
    if not views:
        raise TalkingError("parsing", expected=f"{len(landmarks)} frames", found="none", hint="Track the clip again.")
    labs = np.stack([view.lab for _, view in views])
    cells = np.stack([view.cells for _, view in views])
    margin = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    empty = np.stack([cv2.dilate(view.person, margin) < _CERTAIN_BACKGROUND for _, view in views])
    core = np.stack([cv2.erode(view.person, margin) > _CERTAIN_PERSON for _, view in views])
    background = fit_background(labs, empty, cells)
    model = ClipModel(
        heads,
        background,
        np.zeros((len(background.table), len(LAYERS)), np.float32),
        outer_prior(heads.template),
        inner_hair_prior(heads.template),
        bare_skin(heads.template),
        (np.zeros_like(background.table), np.zeros_like(background.table)),
    )
    model = replace(model, skin=_skin_probabilities(model, views, cells, core))
    model = replace(model, tables=_first_tables(model, views, cells, core))
    anatomical = model.outer
    for _ in range(_ROUNDS):
        mass, torso = np.zeros_like(anatomical), np.zeros((*cells.shape[1:], 2), dtype=np.float32)
        weights = np.empty((*cells.shape, len(LAYERS)), dtype=np.float32)
        for row, (index, view) in enumerate(views):
            probabilities = posterior(model, view, index)
            weights[row] = probabilities[..., 1:]
            torso += probabilities[..., NECK : CLOTH + 1]
            matrix = cv2.invertAffineTransform(center_map(heads.to_atlas(index, view.scale)))
            outside = np.where(view.oval[..., None], 0, probabilities[..., 1:])
            for part in (slice(0, 3), slice(3, 5)):
                mass[..., part] += cv2.warpAffine(
                    np.ascontiguousarray(outside[..., part]), matrix, (ATLAS_SIZE, ATLAS_SIZE),
                    flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP,
                )  # fmt: skip
        tables = _tables(model, cells[core], weights[core])
        model = replace(model, tables=tables, outer=update_prior(anatomical, mass), torso=torso_prior(torso))
    return model


def _skin_probabilities(
    model: ClipModel, views: list[tuple[int, View]], cells: np.ndarray, core: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probability that each colour cell is this person's skin: in the light of the face, and in its shadow."""
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
    model: ClipModel, views: list[tuple[int, View]], cells: np.ndarray, core: np.ndarray
) -> Float32[np.ndarray, "cells 5"]:
    """First log densities of the colours, from pixels whose class the anatomical prior makes likely."""
    weights = np.empty((*cells.shape, len(LAYERS)), dtype=np.float32)
    for row, (index, view) in enumerate(views):
        matrix = model.heads.to_atlas(index, view.scale)
        for part in (slice(0, 3), slice(3, 5)):
            weights[row][..., part] = view.warp(np.ascontiguousarray(model.outer[..., part]), matrix) ** 4
        weights[row][view.oval] = 0
        weights[row][..., SKIN - 1][view.depth > 6] = 1.0
    not_skin = 1 - model.skin[0][cells]
    weights[..., HAIR - 1] *= not_skin
    weights[..., CLOTH - 1] *= not_skin**2
    return _tables(model, cells[core], weights[core])


def _tables(model: ClipModel, cells: np.ndarray, weights: np.ndarray) -> Float32[np.ndarray, "cells 5"]:
    """Log densities of the layers' colours. Ears look like skin, hair does not, a neck like skin or its shadow."""
    weights = weights.copy()
    weights[:, SKIN - 1] += weights[:, EARS - 1]
    weights[:, HAIR - 1] *= 1 - model.skin[0][cells]
    weights[:, NECK - 1] *= model.skin[1][cells] ** 2
    weights[:, NECK - 1] += 0.02 * weights[:, SKIN - 1]  # a neck that is never visible still has a colour
    columns = [log_density(cells, weights[:, layer]) for layer in range(len(LAYERS))]
    columns[EARS - 1] = columns[SKIN - 1]
    return np.stack(columns, axis=1)
