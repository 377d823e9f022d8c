"""Cutting out the torso of a drawn person."""

from __future__ import annotations

import numpy as np

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.mesh_rendering.torso_layer import torso_image

SIZE = 100
NECK, CLOTH, HEAD, WALL = (180, 130, 100), (30, 50, 130), (240, 10, 10), (10, 240, 10)


def person():
    """A red head (a disc) on a neck between cloth shoulders, before a green wall."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    ids = np.zeros((SIZE, SIZE), dtype=np.uint8)
    ids[(rows >= 75) & (np.abs(columns - 50) < 40)] = CLASS_ID["cloth"]
    ids[(rows >= 50) & (rows < 85) & (np.abs(columns - 50) < 12)] = CLASS_ID["neck"]
    ids[np.hypot(columns - 50, rows - 40) < 22] = CLASS_ID["skin"]
    image = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    for name, colour in (("background", WALL), ("cloth", CLOTH), ("neck", NECK), ("skin", HEAD)):
        image[ids == CLASS_ID[name]] = colour
    return image, ids


def test_the_torso_is_kept_and_the_rest_is_clear():
    image, ids = person()
    rgba = torso_image(image, ids)
    assert rgba.shape == (SIZE, SIZE, 4)
    assert (rgba[90:, 15:85, 3] == 255).all()
    assert (rgba[80:84, 42:58, :3] == NECK).all()
    assert (rgba[90:, 15:85, :3] == CLOTH).all()
    assert (rgba[:40, :, 3] == 0).all()
    assert (rgba[:70, :35, 3] == 0).all()
    edge = rgba[88, 5:16, 3].astype(int)
    assert ((edge > 0) & (edge < 255)).any(), "a soft edge"


def test_the_neck_goes_on_under_the_head():
    image, ids = person()
    rgba = torso_image(image, ids)
    chin = np.flatnonzero(ids[:, 50] == CLASS_ID["skin"]).max()
    hidden = rgba[chin - 8 : chin + 1, 42:58]
    assert (hidden[..., 3] > 250).all()
    assert np.abs(hidden[..., :3].astype(int) - NECK).max() <= 2
    assert (rgba[chin - 16, 42:58, 3] == 0).all(), "no further than a margin"


def test_no_foreign_colour_outside_alpha():
    image, ids = person()
    rgba = torso_image(image, ids).astype(int)
    for colour in (WALL, HEAD):
        assert np.abs(rgba[..., :3] - colour).sum(axis=2).min() > 100
    assert rgba[..., :3].max(axis=2).min() > 40, "no black"


def test_clothes_go_on_under_long_hair():
    image, ids = person()
    strand = (slice(60, 90), slice(66, 72))
    ids[strand], image[strand] = CLASS_ID["hair"], HEAD
    rgba = torso_image(image, ids)
    assert (rgba[78:88, 67:71, 3] == 255).all()
    assert np.abs(rgba[78:88, 67:71, :3].astype(int) - CLOTH).max() < 20  # the neck is near


def test_a_frame_without_a_torso_is_clear():
    image, ids = person()
    ids[np.isin(ids, [CLASS_ID["neck"], CLASS_ID["cloth"]])] = 0
    assert (torso_image(image, ids)[..., 3] == 0).all()
