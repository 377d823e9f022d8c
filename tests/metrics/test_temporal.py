from __future__ import annotations

import numpy as np
import pytest
from helpers.faces import face_mesh, smooth_image
from scipy.ndimage import shift

from nerfstudio_talking.metrics.functional.flicker import temporal_error, warping_error
from nerfstudio_talking.metrics.functional.images import to_levels
from nerfstudio_talking.metrics.regions import FrameRegions
from nerfstudio_talking.metrics.temporal import Flicker, TemporalError, TorsoJitter, WarpingError

EVERYWHERE = FrameRegions(torso=np.ones((64, 64), bool), background=np.ones((64, 64), bool))
FRAMES = [to_levels(smooth_image(64, 64, seed)) for seed in range(4)]


def test_flicker_is_not_measured_across_a_break() -> None:
    metric = Flicker()
    for i, frame in enumerate(FRAMES):
        metric.update(frame, frame, EVERYWHERE, follows=i != 2)
    steps = [np.abs(FRAMES[i + 1].astype(int) - FRAMES[i]).mean() for i in (0, 2)]  # not from 1 to 2
    scores = metric.compute()
    assert scores["background_flicker"] == pytest.approx(np.mean(steps)) == scores["gt_background_flicker"]
    assert scores["torso_flicker"] == 0 and "face_flicker" not in scores
    metric.reset()
    metric.update(FRAMES[0], FRAMES[1], EVERYWHERE)
    assert metric.compute() == {}  # one frame makes no step


def test_face_flicker_leaves_the_mouth_out() -> None:
    gt = [np.full((64, 64, 3), 100, np.uint8)] * 2
    rendered = [gt[0], gt[0].copy()]
    rendered[1][20:30, 20:40] += 60  # the mouth
    rendered[1][40:, :] += 10  # half of the face below it
    metric = Flicker()
    for a, b in zip(rendered, gt):
        metric.update(a, b, FrameRegions(face=(0, 16, 64, 64), mouth=(20, 20, 40, 30)))
    face = 48 * 64 - 10 * 20
    assert metric.compute() == {"face_flicker": pytest.approx(10 * 24 * 64 / face)}


def test_boxes_have_their_own_temporal_and_warping_errors() -> None:
    regions = FrameRegions(face=(0, 0, 64, 64), mouth=(10, 20, 40, 50))
    mouth = np.zeros((64, 64), bool)
    mouth[20:50, 10:40] = True
    change, warping = TemporalError(), WarpingError()
    for a, b in zip(FRAMES[:2], FRAMES[2:]):
        change.update(a, b, regions)
        warping.update(a, b, regions)
    rendered, gt = (FRAMES[0], FRAMES[1]), (FRAMES[2], FRAMES[3])
    scores = change.compute()
    assert scores["temporal_error_mouth"] == pytest.approx(temporal_error(rendered, gt, mouth))
    assert scores["temporal_error_face"] == pytest.approx(temporal_error(rendered, gt, np.ones_like(mouth)))
    scores = warping.compute()
    assert scores["warping_error_mouth"] == pytest.approx(warping_error(*rendered, mouth))
    assert scores["gt_warping_error_mouth"] == pytest.approx(warping_error(*gt, mouth))


def move_torso(offsets: np.ndarray) -> list[np.ndarray]:
    """A texture that stands `offsets` pixels to the right, frame by frame."""
    base = smooth_image(96, 96).numpy() * 255
    return [shift(base, (0, x, 0), order=3, mode="nearest").clip(0, 255).astype(np.uint8) for x in offsets]


def jitter(metric: TorsoJitter, rendered: list[np.ndarray], gt: list[np.ndarray], gap: int | None = None) -> dict:
    regions = FrameRegions(torso=np.ones((96, 96), bool))
    for i, (a, b) in enumerate(zip(rendered, gt)):
        metric.update(a, b, regions, face_mesh(), face_mesh(), follows=i != gap)
    return metric.compute()


def test_a_torso_that_jumps_has_jitter_and_its_error() -> None:
    rng = np.random.default_rng(0)
    still, jumps = move_torso(np.zeros(30)), move_torso(rng.uniform(-2, 2, 30))
    scores = jitter(TorsoJitter(), jumps, still)
    assert scores["torso_jitter"] > 10 * scores["gt_torso_jitter"]
    assert scores["torso_jitter_error"] == pytest.approx(scores["torso_jitter"], rel=0.1)
    same = jitter(TorsoJitter(), jumps, jumps)
    assert same["torso_jitter"] == same["gt_torso_jitter"] and same["torso_jitter_error"] == pytest.approx(0, abs=1e-9)


def test_no_acceleration_is_taken_across_a_break() -> None:
    """A torso at rest that stands elsewhere after a cut: without a break it accelerates, with one it does not."""
    cut = move_torso(np.repeat([0.0, 3.0], 25))
    whole, broken = jitter(TorsoJitter(), cut, cut), jitter(TorsoJitter(), cut, cut, gap=25)
    assert broken["torso_jitter"] < 0.2 * whole["torso_jitter"]


def test_too_few_steps_have_no_jitter() -> None:
    still = move_torso(np.zeros(8))
    assert np.isnan(jitter(TorsoJitter(), still, still)["torso_jitter"])
    metric = TorsoJitter()
    metric.update(still[0], still[0], FrameRegions(torso=np.ones((96, 96), bool)), face_mesh(), face_mesh())
    assert metric.compute() == {}
