from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.faces import face_mesh, smooth_image

from nerfstudio_talking.metrics.base import FramePair, VideoMetric
from nerfstudio_talking.metrics.faces import LandmarkDistance
from nerfstudio_talking.metrics.regions import FrameRegions


class Recorder(VideoMetric):
    """Remembers what it is given."""

    name = "recorder"
    display_name = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple] = []
        self.add_series("rows")

    def update(self, gt_landmarks: np.ndarray, gt_parsing: np.ndarray | None = None, follows: bool = True) -> None:
        self.seen.append((gt_landmarks, gt_parsing, follows))
        self.append("rows", gt_landmarks[0])

    def compute(self) -> dict[str, float]:
        return {}


def frame(**others: object) -> FramePair:
    return FramePair(smooth_image(), smooth_image(), FrameRegions(), **others)  # type: ignore[arg-type]


def test_a_metric_gets_what_its_update_names() -> None:
    metric = Recorder()
    points, ids = face_mesh(), np.zeros((72, 80), np.uint8)
    assert metric.update_from(frame(gt_landmarks=points, gt_parsing=ids, follows=False))
    assert metric.update_from(frame(gt_landmarks=points))
    assert not metric.update_from(frame(rendered_landmarks=points))  # what it requires is missing
    assert len(metric.seen) == 2
    assert metric.seen[0][0] is points and metric.seen[0][1] is ids and metric.seen[0][2] is False
    assert metric.seen[1][1] is None and metric.seen[1][2] is True


def test_series_keep_their_rows_and_join() -> None:
    metric = Recorder()
    assert metric.series("rows").shape == (0,)
    for value in (1.0, 2.0):
        metric.append("rows", np.array([value, -value]))
    assert metric.series("rows").tolist() == [[1, -1], [2, -2]]
    joined = Recorder()
    joined.rows = torch.cat(list(metric.rows))  # as after a reduction over processes
    assert joined.series("rows").tolist() == [[1, -1], [2, -2]]
    metric.reset()
    assert len(metric.series("rows")) == 0


def test_a_skipped_frame_has_no_scores_of_the_one_before() -> None:
    metric = LandmarkDistance()
    points = {"rendered_landmarks": face_mesh(0.3), "gt_landmarks": face_mesh()}
    assert metric.update_from(frame(**points)) and metric.frame_scores["lmd"] > 0
    assert not metric.update_from(frame()) and metric.frame_scores == {}
    assert metric.compute()["lmd"] > 0


def test_bytes_of_a_frame() -> None:
    pair = FramePair(torch.full((2, 2, 3), 0.5), torch.ones(2, 2, 3), FrameRegions())
    assert (pair.rendered_levels == 128).all() and (pair.gt_levels == 255).all()
    assert pair.rendered_levels.dtype == np.uint8 and pair.gt_levels is pair.gt_levels
    with pytest.raises(AttributeError):
        pair.follows = False  # type: ignore[misc]
