"""Prior probabilities of the classes at each position of the head's own frame: by anatomy, then updated by the clip."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import distance_transform_edt, gaussian_filter

from nerfstudio_talking.face.landmark_sets import CHIN_TIP, FACE_OVAL, NOSE_BRIDGE
from nerfstudio_talking.face.outlines import ATLAS_SIZE, oval_mask

LAYERS = ("skin", "ears", "neck", "cloth", "hair")
"""The classes that are distinguished by colour and position; features of the face are painted by landmarks."""
LEAST_PRIOR = 1e-4


def _step(x: np.ndarray, centre: float, width: float) -> np.ndarray:
    """0 well below the centre, 1 well above it."""
    return 1 / (1 + np.exp(-(x - centre) / width))


def face_coordinates(template: Float32[np.ndarray, "478 2"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of each atlas pixel on the face.

    Returns:
        u, horizontal, -1 and 1 at the oval's sides; v, 0 at the bridge of the nose and 1 at the chin; signed distance
        to the oval in its half widths, negative inside.
    """
    rows, columns = np.mgrid[:ATLAS_SIZE, :ATLAS_SIZE] + 0.5
    oval = template[list(FACE_OVAL)]
    half = float(oval[:, 0].max() - oval[:, 0].min()) / 2
    u = (columns - (oval[:, 0].max() + oval[:, 0].min()) / 2) / half
    v = (rows - template[NOSE_BRIDGE, 1]) / (template[CHIN_TIP, 1] - template[NOSE_BRIDGE, 1])
    inside = oval_mask(template, ATLAS_SIZE, ATLAS_SIZE)
    within, without = (np.asarray(distance_transform_edt(mask)) for mask in (inside, ~inside))
    distance = (without - within) / half
    return u, v, distance


def outer_prior(template: Float32[np.ndarray, "478 2"]) -> Float32[np.ndarray, "128 128 5"]:
    """Probability of each of `LAYERS` outside the face oval, given that the pixel shows the person."""
    u, v, distance = face_coordinates(template)
    side = np.abs(u)
    skin = 0.5 * np.exp(-((np.maximum(distance, 0) / 0.3) ** 2)) * _step(-v, 0.03, 0.05) * _step(-side, -1.15, 0.05)
    ears = 0.6 * _step(v, -0.16, 0.04) * _step(-v, -0.7, 0.05) * _step(side, 0.85, 0.03) * _step(-side, -1.55, 0.05)
    neck = _step(v, 0.6, 0.05) * (0.1 + _step(-v, -2.1, 0.15)) * (0.05 + _step(-side, -1.15, 0.08))
    neck *= 1 - 0.85 * _step(side, 0.95, 0.04) * _step(-v, -1.02, 0.04)  # beside the jaw there is more often hair
    cloth = _step(v, 1.2, 0.06) + 0.2 * _step(v, 0.85, 0.06) * _step(side, 0.65, 0.05)  # collars stand up at the sides
    beside = _step(side, 0.75, 0.05)
    hair = (
        _step(-v, -0.05, 0.05)
        + 0.5 * _step(v, 0.05, 0.05) * _step(-v, -1.0, 0.1) * beside
        + 0.5 * _step(v, 1.0, 0.1) * _step(-v, -1.8, 0.15) * beside
    )
    hair *= 1 - 0.6 * _step(v, -0.12, 0.04) * _step(-v, -0.6, 0.05) * _step(side, 0.95, 0.03) * _step(-side, -1.5, 0.05)
    return normalize(np.stack([skin, ears, neck, cloth, hair], axis=-1))


def inner_hair_prior(template: Float32[np.ndarray, "478 2"]) -> Float32[np.ndarray, "128 128"]:
    """Probability of hair instead of skin inside the face oval: a fringe, and strands at the temples."""
    u, v, distance = face_coordinates(template)
    fringe = 0.3 * _step(-v, 0.38, 0.03) * np.exp(-np.abs(np.minimum(distance, 0)) / 0.15)
    strands = 0.3 * _step(-v, -0.2, 0.05) * _step(distance, -0.08, 0.02) * _step(np.abs(u), 0.7, 0.03)
    return np.clip(np.maximum(fringe, strands), LEAST_PRIOR, 1).astype(np.float32)


def bare_skin(template: Float32[np.ndarray, "478 2"]) -> Float32[np.ndarray, "128 128"]:
    """1 on forehead and upper cheeks, where there is no beard and hardly any hair; 0 elsewhere."""
    u, v, distance = face_coordinates(template)
    return ((distance < -0.12) & (v > -0.45) & (v < 0.35) & (np.abs(u) < 0.8)).astype(np.float32)


def update_prior(
    prior: Float32[np.ndarray, "128 128 5"],
    mass: Float32[np.ndarray, "128 128 5"],
    strength: float = 4.0,
) -> Float32[np.ndarray, "128 128 5"]:
    """The prior, which counts as `strength` frames, updated by the summed probabilities `mass` of each class."""
    seen = gaussian_filter(mass, (1.0, 1.0, 0.0))
    return normalize(prior * strength + seen)


def torso_prior(mass: Float32[np.ndarray, "height width 2"]) -> Float32[np.ndarray, "height width 2"]:
    """Twice the shares of neck and clothes at each pixel of the image: their positions hardly depend on the head's."""
    seen = gaussian_filter(mass, (2.5, 2.5, 0.0)) + 1.0
    return (2 * seen / seen.sum(axis=-1, keepdims=True)).astype(np.float32)


def normalize(weights: np.ndarray) -> Float32[np.ndarray, "*bs classes"]:
    """Shares that add up to one, none below `LEAST_PRIOR`."""
    weights = np.maximum(weights, LEAST_PRIOR)
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)
