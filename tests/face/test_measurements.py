"""Eye and lip opening against hand-made faces, with and without head poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face import measurements


def face(lid_gap=0.01, lip_gap=0.02):
    """A flat face in the head's frame, metres: outer eye corners 0.09 apart, lids and lips apart as told."""
    points = np.zeros((478, 3))
    points[33], points[263] = (-0.045, 0.03, 0), (0.045, 0.03, 0)
    for eye, centre in zip(measurements.EYE_LIDS, (-0.03, 0.03)):
        for (upper, lower), x in zip(eye, (-0.005, 0, 0.005)):
            points[upper], points[lower] = (centre + x, 0.03 + lid_gap / 2, 0), (centre + x, 0.03 - lid_gap / 2, 0)
    for (upper, lower), x in zip(measurements.INNER_LIPS, (-0.005, 0, 0.005)):
        points[upper], points[lower] = (x, -0.04 + lip_gap / 2, 0), (x, -0.04 - lip_gap / 2, 0)
    return points


def look(points, yaw=0.0, pitch=0.0, roll=0.0, distance=20.0):
    """The face's pixels and its pose; from far off, so that perspective does not count."""
    head = Rotation.from_euler("yxz", [yaw, pitch, roll], degrees=True).as_matrix()
    rotation = head.T
    pose = np.concatenate([rotation, rotation @ [[0], [0], [distance]]], axis=1)[None]
    return PinholeCamera(1000.0 * distance, 512, 512).project(points, pose), pose


def test_openings_of_a_frontal_face():
    pixels, pose = look(face())
    assert measurements.lip_opening(pixels)[0] == pytest.approx(0.02 / 0.09, rel=1e-4)
    assert measurements.lip_opening(pixels, pose)[0] == pytest.approx(0.02 / 0.09, rel=1e-4)
    assert measurements.lid_gap(pixels)[0] == pytest.approx([0.01 / 0.09] * 2, rel=1e-4)


@pytest.mark.parametrize("angles", [(40, 0, 0), (0, 25, 0), (0, 0, 30), (35, -20, 15)])
def test_a_turned_head_opens_no_mouth(angles):
    pixels, pose = look(face(), *angles)
    assert measurements.lip_opening(pixels, pose)[0] == pytest.approx(0.02 / 0.09, rel=0.02)
    assert measurements.lid_gap(pixels, pose)[0] == pytest.approx([0.01 / 0.09] * 2, rel=0.02)


def test_yaw_without_a_pose_is_seen_as_foreshortening():
    pixels, _ = look(face(), yaw=60)
    assert measurements.lip_opening(pixels)[0] == pytest.approx(2 * 0.02 / 0.09, rel=0.02)


def test_closed_and_crossed_lips_are_zero():
    assert measurements.lip_opening(look(face(lip_gap=0.0))[0])[0] == 0
    assert measurements.lip_opening(look(face(lip_gap=-0.003))[0])[0] == 0


def test_no_face_is_nan():
    pixels = np.full((2, 478, 2), np.nan)
    assert np.isnan(measurements.lip_opening(pixels)).all()
    assert np.isnan(measurements.lid_gap(pixels)).all()
    assert np.isnan(measurements.eye_opening(measurements.lid_gap(pixels))).all()


def test_right_eye_comes_first():
    both = face()
    for upper, lower in measurements.EYE_LIDS[0]:
        both[upper, 1] = both[lower, 1]
    right, left = measurements.lid_gap(look(both)[0])[0]
    assert right == pytest.approx(0, abs=1e-6)
    assert left == pytest.approx(0.01 / 0.09, rel=1e-4)


def test_eye_opening_is_on_the_persons_own_scale():
    gaps = np.full((100, 2), 0.10)
    gaps[:, 1] = 0.06  # a narrower eye is as open as it gets, too
    gaps[40:43] = (0.01, 0.006)
    opening = measurements.eye_opening(gaps)
    np.testing.assert_allclose(opening[0], 1.0, rtol=1e-5)
    np.testing.assert_allclose(opening[41], 0.0, atol=1e-6)
    # half way between closed (0.01) and open (0.1)
    gaps[50] = (0.055, 0.033)
    np.testing.assert_allclose(measurements.eye_opening(gaps)[50], 0.5, atol=1e-5)


def test_a_clip_without_a_blink_is_not_stretched():
    gaps = np.random.default_rng(0).uniform(0.09, 0.1, size=(200, 2))
    assert measurements.eye_opening(gaps).min() > 0.8


def test_boxes():
    pixels = np.zeros((1, 478, 2))
    pixels[0, :468] = np.random.default_rng(0).uniform(50, 90, size=(468, 2))
    pixels[0, 3], pixels[0, 4] = (40, 60), (95, 100)
    pixels[0, 470] = (0, 0)  # an iris point does not count
    np.testing.assert_allclose(measurements.face_boxes(pixels)[0, [0, 2, 3]], [40, 95, 100])
    pixels[0, list(measurements.OUTER_LIPS)] = (60, 70)
    pixels[0, 61], pixels[0, 291] = (50, 70), (70, 70)
    np.testing.assert_allclose(measurements.mouth_boxes(pixels, margin=0.5)[0], [40, 60, 80, 80])


def test_gaps_in_time_are_filled():
    rows = np.array([[np.nan, 1], [2, 4], [np.nan, np.nan], [4, 8], [np.nan, np.nan]])
    np.testing.assert_allclose(measurements.fill_gaps(rows), [[2, 4], [2, 4], [3, 6], [4, 8], [4, 8]])
    nothing = np.full((3, 2), np.nan)
    assert np.isnan(measurements.fill_gaps(nothing)).all()
