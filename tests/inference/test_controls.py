"""Head pose, eyes and blinks under controls by hand."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.builders import moving_poses, write_talking_dataset

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.inference.controls import PortraitControls, control_motion, rotate_head
from nerfstudio_talking.motion.blinks import blink_shape

CAMERA = PinholeCamera(96.0, 48, 48)
NOSE, TOP = np.array([[0.0, 0.0, 0.12]]), np.array([[0.0, 0.12, 0.0]])


@pytest.fixture(scope="module")
def track(tmp_path_factory):
    return write_talking_dataset(tmp_path_factory.mktemp("clip"))


def moved(points, **angles) -> np.ndarray:
    """Where points of the head go in the image, pixels."""
    pose = np.eye(4)[None, :3].copy()
    pose[:, 2, 3] = 0.8
    turned = rotate_head(pose, **{"yaw": 0.0, "pitch": 0.0, "roll": 0.0, **angles})
    return (CAMERA.project(points, turned) - CAMERA.project(points, pose))[0, 0]


def test_the_head_turns_as_named():
    # a point 0.12 m before or above the centre, rotated by 10 degrees, 0.8 m from the camera; x right, y down
    sine, cosine = 0.12 * np.sin(np.radians(10)), 0.12 * np.cos(np.radians(10))
    shift = 96 * sine / (0.8 - cosine)
    np.testing.assert_allclose(moved(NOSE, yaw=10.0), (shift, 0), atol=1e-6)
    np.testing.assert_allclose(moved(NOSE, pitch=10.0), (0, -shift), atol=1e-6)
    np.testing.assert_allclose(moved(TOP, roll=10.0), (96 * sine / 0.8, 96 * (0.12 - cosine) / 0.8), atol=1e-6)


def test_the_centre_of_the_head_stays():
    poses = moving_poses(5)
    turned = rotate_head(poses, 12.0, -7.0, 5.0)
    centre = np.zeros((1, 3), np.float32)
    np.testing.assert_allclose(CAMERA.project(centre, turned), CAMERA.project(centre, poses), atol=1e-4)


def test_no_control_changes_nothing(track):
    same = control_motion(track, PortraitControls(), track)
    np.testing.assert_array_equal(same.camera_to_worlds, track.camera_to_worlds)
    np.testing.assert_array_equal(same.eyes, track.eyes)


def test_a_still_head_holds_one_recorded_pose(track):
    still = control_motion(track.span(3, 9), PortraitControls(still=True), track)
    assert np.ptp(still.camera_to_worlds, axis=0).max() == 0
    assert (np.abs(track.camera_to_worlds - still.camera_to_worlds[0]).max((1, 2)) == 0).any()


def test_eyes_close_at_the_time_of_a_blink_wherever_the_frames_begin(track):
    controls = PortraitControls(eyes=0.5, blinks=(0.4,))
    whole = control_motion(track, controls, track).eyes
    assert whole[10].max() == 0  # frame 10 at 25 per second
    np.testing.assert_allclose(whole[:7], 0.5)
    np.testing.assert_array_equal(control_motion(track.span(6, 16), controls, track, 6).eyes, whole[6:16])


def test_a_blink_begins_and_ends_with_open_eyes():
    closure = blink_shape(np.array([-1.0, -0.12, 0.0, 0.16, 1.0]))
    np.testing.assert_allclose(closure, [0, 0, 1, 0.05, 0], atol=1e-9)
