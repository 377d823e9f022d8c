"""Boxes about face and mouth, by hand-computed numbers."""

import numpy as np
import pytest

from nerfstudio_talking.face.landmark_sets import OUTER_LIP_OUTLINE
from nerfstudio_talking.face.regions import clip_box, enclose_boxes, face_boxes, mask_box, mouth_boxes, widen_box


def test_boxes_from_landmarks():
    pixels = np.zeros((1, 478, 2))
    pixels[0, :468] = np.random.default_rng(0).uniform(50, 90, size=(468, 2))
    pixels[0, 3], pixels[0, 4] = (40, 60), (95, 100)
    pixels[0, 470] = (0, 0)  # an iris point does not count
    np.testing.assert_allclose(face_boxes(pixels)[0, [0, 2, 3]], [40, 95, 100])
    pixels[0, list(OUTER_LIP_OUTLINE)] = (60, 70)
    pixels[0, 61], pixels[0, 291] = (50, 70), (70, 70)
    np.testing.assert_allclose(mouth_boxes(pixels, margin=0.5)[0], [40, 60, 80, 80])
    np.testing.assert_allclose(mouth_boxes(pixels)[0], [42, 62, 78, 78])
    assert np.isnan(mouth_boxes(pixels * np.nan)).all()


def test_box_of_a_mask():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    assert mask_box(mask) == (30, 10, 50, 20)
    assert mask_box(mask, margin=0.1) == (28, 8, 52, 22)
    assert mask_box(mask, margin=1.0) == (10, -10, 70, 40)  # may leave the image
    assert mask_box(np.zeros((4, 4), bool)) is None


def test_stray_pixels_are_left_out():
    mask = np.zeros((200, 200), bool)
    mask[100:140, 60:160] = True
    mask[3, 5] = True
    assert mask_box(mask) == (5, 3, 160, 140)
    assert mask_box(mask, stray=0.005) == pytest.approx((60, 100, 160, 140), abs=1)


def test_a_mouth_has_the_same_box_by_landmarks_and_by_its_mask():
    corners = np.array([(50, 70), (90, 70), (90, 90), (50, 90)])
    pixels = np.full((1, 478, 2), 70.0)
    pixels[0, list(OUTER_LIP_OUTLINE)] = corners[np.arange(20) % 4]
    mask = np.zeros((160, 160), bool)
    mask[70:90, 50:90] = True
    np.testing.assert_allclose(mouth_boxes(pixels, 0.35)[0], mask_box(mask, 0.35))


def test_boxes_are_widened_clipped_and_enclosed():
    assert widen_box((10, 20, 30, 25), 0.5) == (0, 10, 40, 35)
    assert clip_box((-5, 10, 70, 90), height=80, width=60) == (0, 10, 60, 80)
    boxes = np.array([[10, 20, 30, 40], [np.nan] * 4, [5, 25, 20, 60]])
    np.testing.assert_array_equal(enclose_boxes(boxes), [5, 20, 30, 60])
