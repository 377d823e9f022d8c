"""All scores of a rendered video against the ground truth, frame by frame: for evaluation and for video files."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer
from torch import Tensor

from nerfstudio_talking.metrics.base import GT_PREFIX, FramePair, MetricOptions, Unavailable, VideoMetric
from nerfstudio_talking.metrics.functional.images import quantize
from nerfstudio_talking.metrics.regions import FrameRegions, regions_from_landmarks, regions_from_parsing
from nerfstudio_talking.metrics.registry import metric_classes

TOO_SHORT = "too few frames, or nothing there to measure"
"""Why a score of a measured video is not there."""


class MetricSuite:
    """Metrics that see the same frames; like a `torchmetrics.MetricCollection`, each gets what its `update` names.

    No part of any module: held by a model, it leaves the checkpoint as it is.
    """

    def __init__(self, metrics: Sequence[VideoMetric]) -> None:
        self.metrics = tuple(metrics)

    def update(self, frame: FramePair) -> dict[str, float]:
        """Add the next frame.

        Returns:
            Scores of this frame alone.
        """
        scores: dict[str, float] = {}
        for metric in self.metrics:
            if metric.update_from(frame):
                scores |= metric.frame_scores
        return scores

    def compute(self) -> dict[str, float]:
        """Scores of all frames so far, by name; NaN for what they are too few for."""
        scores: dict[str, float] = {}
        for metric in self.metrics:
            if metric.update_called:
                scores |= metric.compute()
        return scores

    def reset(self) -> None:
        """Forget all frames."""
        for metric in self.metrics:
            metric.reset()


class PortraitScores:
    """All scores of `registry.metric_classes` that an evaluation measures.

    `update` takes frames in order and returns the frame's own scores, `compute` those of the video, both as flat
    floats. Images are scored as they would be written to a file: rounded to 256 levels. What cannot be measured is no
    key of the answer and is named, with the reason, in `left_out`.

    Args:
        fps: frames per second.
        audio: mono samples that start with the first frame, and their rate; None leaves out what needs audio.
        lpips_weights: torchvision's AlexNet; None looks in the torch cache.
        fid_weights: FID's Inception; None looks in the torch cache.
        faces: whether to follow the faces with FaceMesh (7 ms a frame and video), for boxes and for all scores of a
            face's motion.
        person_masks: whether to find torso and background with MediaPipe where no parsing is given (4 ms a frame).
        fid: whether to compute FID where its weights are to be had (slow without a GPU).

    Raises:
        TalkingError: a weights path was given and cannot be used.
    """

    def __init__(
        self,
        fps: float,
        audio: tuple[Float[np.ndarray, " samples"], int] | None = None,
        lpips_weights: Path | None = None,
        fid_weights: Path | None = None,
        faces: bool = True,
        person_masks: bool = False,
        fid: bool = True,
    ) -> None:
        self.left_out: dict[str, str] = {}
        if faces and importlib.util.find_spec("mediapipe") is None:
            faces, self.left_out["landmarks"] = False, "mediapipe is not installed"
        self._suite = MetricSuite(self._make_metrics(MetricOptions(fps, audio, lpips_weights, fid_weights, fid)))
        self._faces, self._person_masks = faces, person_masks and faces
        self._trackers: _Trackers | None = None
        self._last: int | None = None
        self.rows: list[dict[str, float]] = []
        """Scores of each frame so far."""
        self._landmarks: list[tuple[np.ndarray, np.ndarray]] = []

    def update(
        self,
        rendered: Float[Tensor, "height width 3"],
        gt: Float[Tensor, "height width 3"],
        parsing: Integer[np.ndarray, "height width"] | None = None,
        frame: int | None = None,
        rendered_parsing: Integer[np.ndarray, "height width"] | None = None,
    ) -> dict[str, float]:
        """Add the next frame.

        Args:
            rendered: the rendering in [0, 1]; LPIPS and FID are computed on its device.
            gt: the ground truth frame, on any device.
            parsing: its class ids (`parsing_labels.PARSING_CLASSES`); None takes FaceMesh's boxes, and
                person masks where asked for.
            frame: its number; a step other than one is no step of time. None: it follows the one before.
            rendered_parsing: class ids that were rendered, for the IoU.

        Returns:
            Scores of this frame: `psnr`, `ssim`, and where they can be had `lpips`, the same of face and mouth, and
            `lmd`. `rows` keeps them all.
        """
        follows = frame is None or self._last is None or frame == self._last + 1
        self._last = frame
        pair = [quantize(image.detach()).to(rendered.device) for image in (rendered, gt)]
        seen = FramePair(pair[0], pair[1], FrameRegions())
        points: tuple[np.ndarray, np.ndarray] | tuple[None, None] = None, None
        if self._faces:
            points = self._track_faces(seen)
            self._landmarks.append(points)
        regions = self._find_regions(parsing, seen.gt_levels, points[1])
        seen = replace(
            seen,
            regions=regions,
            rendered_landmarks=points[0],
            gt_landmarks=points[1],
            rendered_parsing=rendered_parsing,
            gt_parsing=parsing,
            follows=follows,
        )
        scores = self._suite.update(seen)
        self.rows.append(scores)
        return dict(scores)

    def compute(self) -> dict[str, float]:
        """Scores of all frames so far. Names with `gt_` in front are the ground truth's own, to read the others by."""
        scores = self._suite.compute()
        for name, value in scores.items():
            if np.isfinite(value):
                self.left_out.pop(name, None)
            elif not name.startswith(GT_PREFIX):
                self.left_out[name] = TOO_SHORT
        return {name: float(value) for name, value in scores.items() if np.isfinite(value)}

    @property
    def tracks(self) -> tuple[Float[np.ndarray, "frames 478 2"], Float[np.ndarray, "frames 478 2"]]:
        """FaceMesh points of the rendering and of the ground truth so far, in pixels; empty where faces are not
        followed."""
        rendered, gt = (np.array(side, np.float32).reshape(-1, 478, 2) for side in zip(*self._landmarks or [((), ())]))
        return rendered, gt

    def reset(self) -> None:
        """Forget all frames, for another video of the same audio."""
        self._suite.reset()
        self._last, self.rows, self._landmarks = None, [], []
        self.close()

    def close(self) -> None:
        """Let the trackers go; the scores stay."""
        if self._trackers is not None:
            self._trackers.close()
        self._trackers = None

    def _make_metrics(self, options: MetricOptions) -> list[VideoMetric]:
        metrics = []
        for metric in metric_classes():
            if not metric.in_suite:
                continue
            try:
                metrics.append(metric.make(options))
            except Unavailable as reason:
                self.left_out[metric.name] = str(reason)
        return metrics

    def _track_faces(self, frame: FramePair) -> tuple[np.ndarray, np.ndarray]:
        """FaceMesh points of both frames, (478, 2)."""
        if self._trackers is None:
            self._trackers = _Trackers(self._person_masks)
        rendered, gt = self._trackers.follow(frame.rendered_levels, frame.gt_levels)
        return rendered[:, :2], gt[:, :2]

    def _find_regions(self, parsing: np.ndarray | None, gt: np.ndarray, landmarks: np.ndarray | None) -> FrameRegions:
        if parsing is not None:
            return regions_from_parsing(parsing)
        if landmarks is None or self._trackers is None:
            return FrameRegions()
        return regions_from_landmarks(landmarks, self._trackers.find_person(gt))


class _Trackers:
    """FaceMesh on both videos, person masks on the ground truth."""

    def __init__(self, masks: bool) -> None:
        from nerfstudio_talking.face.tracking import FaceFollower, person_masks

        self._followers = FaceFollower(), FaceFollower()
        self._queue: deque[np.ndarray] = deque()
        self._masks = person_masks(self._take_queued()) if masks else None

    def follow(self, rendered: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks of both."""
        return self._followers[0].follow(rendered), self._followers[1].follow(gt)

    def find_person(self, gt: np.ndarray) -> np.ndarray | None:
        """The person mask of a frame; None without masks."""
        if self._masks is None:
            return None
        self._queue.append(gt)
        return next(self._masks)

    def close(self) -> None:
        for follower in self._followers:
            follower.close()
        if self._masks is not None:
            self._masks.close()  # type: ignore[attr-defined]

    def _take_queued(self) -> Iterator[np.ndarray]:
        while True:
            yield self._queue.popleft()
