"""All scores of a rendered video against the true one, frame by frame: for evaluation and for mp4s."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from nerfstudio_talking.io.weights import find_weights
from nerfstudio_talking.metrics.accumulators import FaceMotion, ImageQuality, Steadiness
from nerfstudio_talking.metrics.images import ALEXNET_FILES, INCEPTION_FILES, inception_network, lpips_network
from nerfstudio_talking.metrics.landmarks import landmark_distance
from nerfstudio_talking.metrics.regions import FrameRegions, pixel_box, regions_from_landmarks, regions_from_parsing

_TOO_SHORT = "too few frames, or nothing there to measure"


class PortraitScores:
    """Scores of a rendered video against the ground truth.

    `update` takes frames in order and returns the frame's own scores, `compute` those of the video, both as flat
    floats. What cannot be measured is no key of the answer and is named, with the reason, in `left_out`. No part of any
    module: held by a model, it leaves the checkpoint as it is.

    Args:
        fps: frames per second.
        audio: mono samples that start with the first frame, and their rate; None leaves out what needs audio.
        lpips_weights: torchvision's AlexNet; None looks in the torch cache.
        fid_weights: FID's Inception; None looks in the torch cache.
        faces: follow the faces with FaceMesh (7 ms a frame and video): boxes, LMD, AUE, sync, blinks, torso jitter.
        person_masks: find torso and background with MediaPipe where no parsing is given (4 ms a frame).
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
        self._motion = FaceMotion(fps, audio)
        self._quality = ImageQuality(self._lpips(lpips_weights))
        self._steadiness = Steadiness()
        self._fid = self._inception(fid_weights, fid)
        if faces and importlib.util.find_spec("mediapipe") is None:
            faces, self.left_out["landmarks"] = False, "mediapipe is not installed"
        if audio is None:
            self.left_out["sync_score"] = "no audio"
        self._faces, self._person_masks = faces, person_masks and faces
        self.rows: list[dict[str, float]] = []
        self._last: int | None = None
        self._trackers: _Trackers | None = None

    def update(
        self,
        rendered: Float[Tensor, "height width 3"],
        gt: Float[Tensor, "height width 3"],
        parsing: UInt8[np.ndarray, "height width"] | None = None,
        frame: int | None = None,
    ) -> dict[str, float]:
        """Add the next frame.

        Args:
            rendered: the rendering in [0, 1]; LPIPS and FID are computed on its device.
            gt: the true frame, on any device.
            parsing: class ids of the true frame (`semantics.PARSING_CLASSES`); None takes FaceMesh's boxes, and person
                masks where asked for.
            frame: its number; a step other than one is no step of time. None: it follows the one before.

        Returns:
            Scores of this frame: those named in `always`, and where a face was found `psnr_face`, ..., `psnr_mouth`,
            ..., `lmd`. `rows` keeps them all.
        """
        rendered, gt = rendered.detach(), gt.detach().to(rendered.device)
        follows = frame is None or self._last is None or frame == self._last + 1
        self._last = frame
        pair = [(image.clamp(0, 1) * 255).round().to(torch.uint8) for image in (rendered, gt)]
        levels = [image.cpu().numpy() for image in pair]
        points = None
        if self._faces:
            if self._trackers is None:
                self._trackers = _Trackers(self._person_masks)
            points = self._trackers.follow(*levels)
        regions = self._regions(parsing, levels[1], points)
        if not follows:
            self._steadiness.restart()
        self._steadiness.update(levels[0], levels[1], regions, *(points or (None, None)))
        scores = dict(self._quality(rendered, gt, regions.boxes))
        self._add_to_fid(pair, regions)
        if points is not None:
            self._motion.update(*points)
            distance = float(landmark_distance(*points))
            if np.isfinite(distance):
                scores["lmd"] = distance
        self.rows.append(scores)
        return dict(scores)

    def compute(self) -> dict[str, float]:
        """Scores of all frames so far. Names with `gt_` in front are the ground truth's own, to read the others by."""
        scores: dict[str, float] = {}
        for metric in (self._quality, self._motion, self._steadiness):
            if metric.update_called:
                scores |= metric.compute()
        for name, distance in self._fid.items():
            if int(distance.real_features_num_samples) >= 2:  # type: ignore[arg-type]
                scores[name] = float(distance.compute())
        for name, value in scores.items():
            if np.isfinite(value):
                self.left_out.pop(name, None)
            elif not name.startswith("gt_"):
                self.left_out[name] = _TOO_SHORT
        return {name: float(value) for name, value in scores.items() if np.isfinite(value)}

    @property
    def always(self) -> tuple[str, ...]:
        """Names that every frame has: nerfstudio's mean over frames wants the same ones from each."""
        return ("psnr", "ssim") if "lpips" in self.left_out else ("psnr", "ssim", "lpips")

    @property
    def tracks(self) -> tuple[Float[np.ndarray, "frames 478 2"], Float[np.ndarray, "frames 478 2"]]:
        """FaceMesh points of the rendering and of the ground truth so far."""
        return self._motion.tracks

    def reset(self) -> None:
        """Forget all frames, for another video of the same audio."""
        for metric in (self._quality, self._motion, self._steadiness, *self._fid.values()):
            metric.reset()
        self._last, self.rows = None, []
        self.close()

    def close(self) -> None:
        """Let the trackers go; the scores stay."""
        if self._trackers is not None:
            self._trackers.close()
        self._trackers = None

    def _regions(
        self,
        parsing: np.ndarray | None,
        gt: np.ndarray,
        points: tuple[np.ndarray, np.ndarray] | None,
    ) -> FrameRegions:
        if parsing is not None:
            return regions_from_parsing(parsing)
        if points is None:
            return FrameRegions()
        assert self._trackers is not None
        return regions_from_landmarks(points[1], self._trackers.person(gt))

    def _lpips(self, weights: Path | None) -> nn.Module | None:
        path = find_weights(weights, ALEXNET_FILES)
        if path is None:
            self.left_out["lpips"] = f"no weights: {ALEXNET_FILES[0]} is not in the torch cache; give its path"
            return None
        return lpips_network(path)

    def _inception(self, weights: Path | None, wanted: bool) -> dict[str, FrechetInceptionDistance]:
        if not wanted:
            self.left_out["fid"] = "not asked for"
            return {}
        path = find_weights(weights, INCEPTION_FILES)
        if path is None:
            self.left_out["fid"] = f"no weights: {INCEPTION_FILES[0]} is not in the torch cache; give its path"
            return {}
        network = inception_network(path)
        return {name: FrechetInceptionDistance(network) for name in ("fid", "fid_face", "fid_mouth")}

    def _add_to_fid(self, pair: list[Tensor], regions: FrameRegions) -> None:
        boxes = {"fid": None, "fid_face": regions.face, "fid_mouth": regions.mouth}
        for name, metric in self._fid.items():
            box = boxes[name]
            area = (slice(None), slice(None))
            if name != "fid":
                area = None if box is None else pixel_box(box, *pair[1].shape[:2])
            if area is None:
                continue
            metric.to(pair[1].device)
            for image, real in zip(pair, (False, True)):
                metric.update(image[area].permute(2, 0, 1)[None].contiguous(), real=real)


class _Trackers:
    """FaceMesh on both videos, person masks on the true one."""

    def __init__(self, masks: bool) -> None:
        from nerfstudio_talking.face.tracking import FaceFollower, person_masks

        self._followers = FaceFollower(), FaceFollower()
        self._queue: deque[np.ndarray] = deque()
        self._masks = person_masks(self._fed()) if masks else None

    def follow(self, rendered: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks of both."""
        return self._followers[0].follow(rendered), self._followers[1].follow(gt)

    def person(self, gt: np.ndarray) -> np.ndarray | None:
        """The person mask of a frame."""
        if self._masks is None:
            return None
        self._queue.append(gt)
        return next(self._masks)

    def close(self) -> None:
        for follower in self._followers:
            follower.close()
        if self._masks is not None:
            self._masks.close()  # type: ignore[attr-defined]

    def _fed(self) -> Iterator[np.ndarray]:
        while True:
            yield self._queue.popleft()
