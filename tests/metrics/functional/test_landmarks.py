from __future__ import annotations

import numpy as np
import pytest
from helpers.faces import face_mesh
from helpers.paths import needs_clips, shared_file

from nerfstudio_talking.metrics.functional import landmarks


def test_lmd_by_hand() -> None:
    gt = np.zeros((68, 2))
    gt[48:68] = [(x, 0.0) for x in range(-10, 10)]
    wide = gt.copy()
    wide[48:68, 0] *= 1.5
    own = gt[48:68, 0] - gt[48:68, 0].mean()
    assert landmarks.landmark_distance(wide, gt) == pytest.approx(0.5 * np.abs(own).mean())
    assert landmarks.landmark_distance(gt + np.array([30, -7]), gt) == pytest.approx(0)
    with pytest.raises(ValueError, match="not 5"):
        landmarks.mouth_points_68(np.zeros((5, 2)))


@needs_clips("models/canonical_face_model.obj")
def test_mesh_points_stand_in_the_order_of_the_68() -> None:
    assert len(set(landmarks.MOUTH_68_TO_MESH)) == 20
    file = shared_file("models/canonical_face_model.obj")
    rows = [line.split()[1:3] for line in file.read_text().splitlines() if line.startswith("v ")]
    x, y = landmarks.mouth_points_68(np.array(rows, float)).T  # y up
    outer, inner = slice(0, 12), slice(12, 20)
    for part, corner in ((outer, 6), (inner, 4)):
        angle = np.unwrap(np.arctan2(y[part] - y[part].mean(), x[part]))
        assert (np.diff(angle) < 0).all()  # from the person's right corner over the upper lip
        assert x[part].argmin() == 0 and x[part].argmax() == corner
    partners = [6, 5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 16, 15, 14, 13, 12, 19, 18, 17]  # left and right of the 68
    np.testing.assert_allclose(x, -x[partners], atol=1e-3)


def test_missed_faces_are_counted_not_averaged() -> None:
    gt = np.stack([face_mesh()] * 5)
    rendered = gt.copy()
    rendered[0] += 4
    rendered[1] = gt[2] = np.nan
    score = landmarks.landmark_score(rendered, gt)
    assert score.pixels == pytest.approx(0) and score.relative == pytest.approx(0)
    assert (score.missed_rendered, score.missed_gt) == (1, 1)
    half = landmarks.landmark_score(rendered[3:] * 0.5 + face_mesh(0.3)[None] * 0.5, gt[3:])
    small = landmarks.landmark_score((rendered[3:] + face_mesh(0.3)[None]) * 0.25, gt[3:] * 0.5)
    assert small.pixels == pytest.approx(half.pixels / 2) and small.relative == pytest.approx(half.relative)
    assert np.isnan(landmarks.landmark_score(gt * np.nan, gt).pixels)


def test_a_set_of_68_has_no_relative_distance() -> None:
    gt = np.random.default_rng(0).uniform(0, 100, (3, 68, 2))
    score = landmarks.landmark_score(gt + 5, gt)
    assert score.pixels == pytest.approx(0) and np.isnan(score.relative)
