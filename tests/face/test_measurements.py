"""Eye and lip opening against hand-made faces, with and without head poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face import measurements
from nerfstudio_talking.face.landmark_sets import INNER_LIP_PAIRS, LID_PAIRS, mouth_points


def face(lid_gap=0.01, lip_gap=0.02):
    """A flat face in the head's frame, metres: outer eye corners 0.09 apart, lids and lips as far apart as given."""
    points = np.zeros((478, 3))
    points[33], points[263] = (-0.045, 0.03, 0), (0.045, 0.03, 0)
    for eye, centre in zip(LID_PAIRS, (-0.03, 0.03)):
        for (upper, lower), x in zip(eye, (-0.005, 0, 0.005)):
            points[upper], points[lower] = (centre + x, 0.03 + lid_gap / 2, 0), (centre + x, 0.03 - lid_gap / 2, 0)
    for (upper, lower), x in zip(INNER_LIP_PAIRS, (-0.005, 0, 0.005)):
        points[upper], points[lower] = (x, -0.04 + lip_gap / 2, 0), (x, -0.04 - lip_gap / 2, 0)
    return points


def look(points, yaw=0.0, pitch=0.0, roll=0.0, distance=20.0):
    """The face's pixels and its pose; from far away, so that perspective does not count."""
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
def test_rotating_the_head_opens_no_mouth(angles):
    pixels, pose = look(face(), *angles)
    assert measurements.lip_opening(pixels, pose)[0] == pytest.approx(0.02 / 0.09, rel=0.02)
    assert measurements.lid_gap(pixels, pose)[0] == pytest.approx([0.01 / 0.09] * 2, rel=0.02)


def test_yaw_without_a_pose_is_taken_for_foreshortening():
    pixels, _ = look(face(), yaw=60)
    assert measurements.lip_opening(pixels)[0] == pytest.approx(2 * 0.02 / 0.09, rel=0.02)


def test_closed_and_crossed_lips_are_zero():
    assert measurements.lip_opening(look(face(lip_gap=0.0))[0])[0] == 0
    assert measurements.lip_opening(look(face(lip_gap=-0.003))[0])[0] == 0


def test_distances_in_the_heads_frame_are_openings_in_the_image():
    """Lip distance over eye corner distance, metres, is the opening that any view of the shape shows."""
    shape = face(lip_gap=0.02)
    assert measurements.lip_distance(shape[None])[0] == pytest.approx(0.02)
    assert measurements.eye_corner_distance(shape) == pytest.approx(0.09)
    ratio = measurements.lip_distance(shape[None])[0] / measurements.eye_corner_distance(shape)
    for angles in ((0, 0, 0), (30, 10, -20)):
        assert measurements.lip_opening(*look(shape, *angles))[0] == pytest.approx(ratio, rel=0.02)
    overlapping = face(lip_gap=-0.003)
    assert measurements.lip_distance(overlapping[None])[0] == pytest.approx(-0.003)


def test_opening_of_68_points():
    points = np.zeros((2, 68, 2), np.float32)
    points[:, 36], points[:, 45] = (10, 20), (60, 20)
    points[0, 62], points[0, 66] = (35, 50), (35, 60)
    np.testing.assert_allclose(measurements.lip_opening_68(points), [0.2, 0.0])


@pytest.mark.parametrize(("num_points", "upper", "lower"), [(478, 13, 14), (68, 62, 66)])
def test_measures_of_a_mouth_shape(num_points, upper, lower):
    points = mouth_points(num_points)
    shapes = np.zeros((1, len(points), 2))
    shapes[0, points.index(upper)] = (0.0, 0.004)
    shapes[0, points.index(lower)] = (0.003, 0.0)
    right, left, top, bottom = (48, 54, 51, 57) if num_points == 68 else (61, 291, 0, 17)
    shapes[0, points.index(right)], shapes[0, points.index(left)] = (-0.03, 0.01), (0.03, 0.01)
    shapes[0, points.index(top)], shapes[0, points.index(bottom)] = (0.0, 0.01), (0.0, -0.015)
    found = measurements.mouth_measures(shapes.reshape(1, -1), num_points)[0]
    np.testing.assert_allclose(found, (0.005, 0.06, 0.025 - 0.005))


def test_no_face_is_nan():
    pixels = np.full((2, 478, 2), np.nan)
    assert np.isnan(measurements.lip_opening(pixels)).all()
    assert np.isnan(measurements.lid_gap(pixels)).all()
    assert np.isnan(measurements.eye_opening(measurements.lid_gap(pixels))).all()


def test_right_eye_comes_first():
    both = face()
    for upper, lower in LID_PAIRS[0]:
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


def test_lids_close_as_eyes_open_less():
    opening = measurements.mean_eye_opening(np.array([[1.0, 0.6], [np.nan, np.nan], [0.0, 0.0], [1.4, 1.4]]))
    np.testing.assert_allclose(opening, [0.8, 1.0, 0.0, 1.4])
    np.testing.assert_allclose(measurements.lid_closure(opening), [0.2, 0.0, 1.0, 0.0])


def test_gaps_in_time_are_filled():
    rows = np.array([[np.nan, 1], [2, 4], [np.nan, np.nan], [4, 8], [np.nan, np.nan]])
    np.testing.assert_allclose(measurements.fill_gaps(rows), [[2, 4], [2, 4], [3, 6], [4, 8], [4, 8]])
    nothing = np.full((3, 2), np.nan)
    assert np.isnan(measurements.fill_gaps(nothing)).all()
