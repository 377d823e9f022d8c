"""Motions between frames, and a person warped by them."""

from __future__ import annotations

import cv2
import numpy as np

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.mesh_rendering.reference_warp import (
    body_motion_between,
    composite_person,
    fit_affine,
    split_person,
)


def test_the_affine_map_is_recovered():
    rng = np.random.default_rng(0)
    points, motion = rng.normal(size=(30, 2)), np.array([[1.1, 0.2, 5], [-0.1, 0.9, -3]])
    moved = points @ motion[:, :2].T + motion[:, 2]
    np.testing.assert_allclose(fit_affine(points, moved), motion, atol=1e-12)


def test_body_motion_is_in_pixels():
    # [-1, 1] over 200 x 100 pixels: 0.1 to the right is 10 pixels, 0.2 down is 10, too
    start, end = np.eye(2, 3), np.array([[1, 0, 0.1], [0, 1, 0.2]])
    np.testing.assert_allclose(body_motion_between(start, end, 200, 100), [[1, 0, 10], [0, 1, 10]], atol=1e-9)
    np.testing.assert_allclose(body_motion_between(end, start, 200, 100), [[1, 0, -10], [0, 1, -10]], atol=1e-9)
    # twice as large about the centre of the image
    twice = np.array([[2.0, 0, 0], [0, 2, 0]])
    np.testing.assert_allclose(body_motion_between(start, twice, 200, 100), [[2, 0, -100], [0, 2, -50]], atol=1e-9)


def test_head_and_body_of_the_reference_are_warped_apart():
    background = np.full((64, 64, 3), (0, 0, 200), np.uint8)
    parsing = np.zeros((64, 64), np.uint8)
    parsing[10:30, 20:40], parsing[40:, 10:50] = CLASS_ID["hair"], CLASS_ID["cloth"]
    parsing[30:40, 25:35] = CLASS_ID["neck"]
    image = background.copy()
    colours = {"hair": (60, 40, 20), "cloth": (0, 120, 0), "neck": (220, 170, 140)}
    for name, colour in colours.items():
        image[parsing == CLASS_ID[name]] = colour
    layers = split_person(image, parsing)
    still = np.eye(2, 3)
    away = cv2.morphologyEx(parsing, cv2.MORPH_GRADIENT, np.ones((7, 7))) == 0  # from every outline
    assert away.sum() > 1500
    same = composite_person(layers, background, still, still)
    assert np.abs(same.astype(int) - image)[away].max() <= 2
    # head 6 to the right, body 5 down: where they were, the background shows; there is no hole between them
    head, body = np.array([[1.0, 0, 6], [0, 1, 0]]), np.array([[1.0, 0, 0], [0, 1, 5]])
    apart = composite_person(layers, background, head, body)
    assert np.abs(apart[20, 43].astype(int) - colours["hair"]).max() <= 2
    assert np.abs(apart[20, 21].astype(int) - background[0, 0]).max() <= 2
    assert np.abs(apart[42, 14].astype(int) - background[0, 0]).max() <= 2
    assert np.abs(apart[50, 14].astype(int) - colours["cloth"]).max() <= 2
    assert apart[31:40, 30, 2].max() < 180  # neck, not the blue behind it
