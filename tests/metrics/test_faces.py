from __future__ import annotations

import numpy as np
import pytest
from helpers.faces import face_mesh, talking_meshes
from helpers.voices import FPS, speech

from nerfstudio_talking.metrics import faces
from nerfstudio_talking.metrics.base import VideoMetric
from nerfstudio_talking.metrics.functional import action_units, landmarks


def add_frames(metric: VideoMetric, rendered: np.ndarray, gt: np.ndarray) -> VideoMetric:
    for a, b in zip(rendered, gt):
        metric.update(a, b)
    return metric


def test_frames_add_up_to_the_functions_of_the_whole_video() -> None:
    rng = np.random.default_rng(0)
    gt = talking_meshes(speech(2, seed=11)[0])
    rendered = gt + rng.normal(0, 2, gt.shape)
    rendered[3], gt[5] = np.nan, np.nan
    lmd = landmarks.landmark_score(rendered, gt)
    assert add_frames(faces.LandmarkDistance(), rendered, gt).compute() == {
        "lmd": pytest.approx(lmd.pixels),
        "lmd_relative": pytest.approx(lmd.relative),
        "faces_missed": 1,
        "gt_faces_missed": 1,
    }
    units = [action_units.from_landmarks(points) for points in (rendered, gt)]
    aue = action_units.action_unit_error(units[0], units[1], action_units.GEOMETRY_UNITS)
    scores = add_frames(faces.LandmarkActionUnitError(), rendered, gt).compute()
    assert scores == {"aue_geometry_upper": pytest.approx(aue.upper), "aue_geometry_lower": pytest.approx(aue.lower)}


def test_identical_faces_are_perfect() -> None:
    gt = talking_meshes(speech(8, seed=11)[0])
    distance = add_frames(faces.LandmarkDistance(), gt, gt).compute()
    assert distance["lmd"] == distance["lmd_relative"] == distance["faces_missed"] == 0
    assert set(add_frames(faces.LandmarkActionUnitError(), gt, gt).compute().values()) == {0.0}
    lips = add_frames(faces.LipMotion(), gt, gt).compute()
    assert lips == {"lip_correlation": pytest.approx(1), "lip_lag": 0, "lip_spread": 1}


@pytest.mark.parametrize("k", [-4, 5])
def test_lips_that_come_late_have_a_lag(k: int) -> None:
    gt = talking_meshes(speech(8, seed=12)[0])
    scores = add_frames(faces.LipMotion(), np.roll(gt, k, axis=0), gt).compute()
    assert scores["lip_lag"] == k and scores["lip_correlation"] < 0.9


def test_a_frame_has_its_own_lmd() -> None:
    metric = faces.LandmarkDistance()
    metric.update(face_mesh(0.3), face_mesh(0.1))
    wanted = float(landmarks.landmark_distance(face_mesh(0.3), face_mesh(0.1)))
    assert metric.frame_scores == {"lmd": wanted} and wanted > 1
    metric.update(face_mesh() * np.nan, face_mesh())
    assert metric.frame_scores == {}


def test_blinks_per_minute_of_both_videos() -> None:
    gt = np.stack([face_mesh()] * 50)
    for index, (upper, lower) in enumerate(pair for eye in faces_lids() for pair in eye):
        gt[:, upper], gt[:, lower] = (120 + index, 100), (120 + index, 110)
    rendered = gt.copy()
    for eye in faces_lids():
        for upper, lower in eye:
            gt[10:13, lower] = gt[10:13, upper]  # one blink in two seconds
    scores = add_frames(faces.Blinks(FPS), rendered, gt).compute()
    # open eyes throughout follow nothing
    assert scores == {
        "blinks_per_minute": 0.0,
        "gt_blinks_per_minute": 30.0,
        "eye_correlation": pytest.approx(np.nan, nan_ok=True),
    }
    late = add_frames(faces.Blinks(FPS), np.roll(gt, 1, axis=0), gt).compute()
    blink = np.zeros(50)
    blink[10:13] = 1
    assert late["eye_correlation"] == pytest.approx(np.corrcoef(blink, np.roll(blink, 1))[0, 1])
    unseen = add_frames(faces.Blinks(FPS), rendered * np.nan, gt).compute()
    assert np.isnan(unseen["blinks_per_minute"]) and unseen["gt_blinks_per_minute"] == 30.0


def faces_lids() -> tuple:
    from nerfstudio_talking.face.landmark_sets import LID_PAIRS

    return LID_PAIRS


def test_error_of_blendshapes_and_of_openface() -> None:
    rendered, gt = np.zeros((2, 4, 52))
    rendered[:, 25] = 0.4  # jawOpen, AU26: intensity 2
    gt[2] = np.nan
    blendshapes = faces.BlendshapeActionUnitError()
    blendshapes.update(rendered, gt)
    assert blendshapes.compute() == {"aue_blendshapes_upper": 0.0, "aue_blendshapes_lower": pytest.approx(4.0)}
    openface = faces.OpenFaceActionUnitError()
    openface.update(np.ones((3, 17)), np.full((3, 17), np.nan))
    assert all(np.isnan(value) for value in openface.compute().values())
    openface.update(np.ones((1, 17)), np.zeros((1, 17)))
    assert openface.compute() == {"aue_openface_upper": 8.0, "aue_openface_lower": 9.0}
