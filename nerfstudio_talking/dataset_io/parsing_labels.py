"""The eleven parsing classes of SSP-NeRF (Liu et al., ECCV 2022), and conversions from other formats.

A parsing map is an (H, W) uint8 array of class ids, the index of the class in `PARSING_CLASSES`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, UInt8

PARSING_CLASSES = (
    "background",
    "skin",
    "brows",
    "eyes",
    "ears",
    "nose",
    "inner_mouth",
    "lips",
    "neck",
    "cloth",
    "hair",
)
CLASS_ID = {name: index for index, name in enumerate(PARSING_CLASSES)}

HEAD_CLASSES = ("skin", "brows", "eyes", "ears", "nose", "inner_mouth", "lips", "hair")
"""Classes that move with the head: the head field renders them."""
TORSO_CLASSES = ("neck", "cloth")
"""Classes that the torso field renders."""
FACE_CLASSES = ("skin", "brows", "eyes", "nose", "inner_mouth", "lips")
"""Classes that a face box encloses."""
MOUTH_CLASSES = ("lips", "inner_mouth")
"""Classes that a mouth box encloses."""

PALETTE: UInt8[np.ndarray, "11 3"] = np.array(
    [
        (255, 255, 255),
        (236, 188, 160),
        (122, 84, 62),
        (66, 135, 245),
        (225, 140, 110),
        (245, 205, 130),
        (120, 20, 40),
        (222, 82, 104),
        (150, 205, 160),
        (74, 98, 160),
        (70, 52, 44),
    ],
    dtype=np.uint8,
)
"""RGB of each class for images of parsing maps."""

_BISENET_GROUPS = {
    "skin": (1,),
    "brows": (2, 3),
    "eyes": (4, 5),
    "ears": (7, 8),
    "nose": (10,),
    "inner_mouth": (11,),
    "lips": (12, 13),
    "neck": (14,),
    "cloth": (16,),
    "hair": (17,),
}
AD_NERF_COLOURS = {"skin": (0, 0, 255), "neck": (0, 255, 0), "cloth": (255, 0, 0), "background": (255, 255, 255)}
"""RGB in the file. Their code reads it as BGR, hence "head = [255, 0, 0]" in its sources."""


def class_mask(parsing: UInt8[np.ndarray, "*shape"], names: tuple[str, ...]) -> Bool[np.ndarray, "*shape"]:
    """True where a parsing map, or any array of class ids, holds one of the named classes."""
    table = np.zeros(256, dtype=bool)
    table[[CLASS_ID[name] for name in names]] = True
    return table[parsing]


def colour_parsing(parsing: UInt8[np.ndarray, "*bs height width"]) -> UInt8[np.ndarray, "*bs height width 3"]:
    """A parsing map as an RGB image."""
    return PALETTE[parsing]


def from_bisenet(ids: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Nineteen BiSeNet face-parsing ids to the eleven classes (SSP-NeRF's grouping; the rest is background)."""
    table = np.zeros(256, dtype=np.uint8)
    for name, members in _BISENET_GROUPS.items():
        table[list(members)] = CLASS_ID[name]
    return table[ids]


def from_ad_nerf(colours: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width"]:
    """AD-NeRF's four-colour parsing image (RGB) to class ids by nearest colour.

    The whole head, hair included, is one colour there and becomes `skin`. TalkingGaussian's two additions, inner
    mouth (100, 100, 100) and hair (0, 0, 0), are recognised.
    """
    names = [*AD_NERF_COLOURS, "inner_mouth", "hair"]
    anchors: Float32[np.ndarray, "6 3"] = np.array(
        [*AD_NERF_COLOURS.values(), (100, 100, 100), (0, 0, 0)], dtype=np.float32
    )
    distance = ((colours[..., None, :].astype(np.float32) - anchors) ** 2).sum(-1)
    return np.array([CLASS_ID[name] for name in names], dtype=np.uint8)[distance.argmin(-1)]
