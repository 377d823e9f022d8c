"""Scores of a face's motion by landmarks: LMD, lips against the ground truth's lips, action units, blinks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from typing_extensions import Self

from nerfstudio_talking.face.measurements import eye_opening, lid_gap, lip_opening
from nerfstudio_talking.metrics.base import GT_PREFIX, MetricOptions, ScoreInfo, VideoMetric
from nerfstudio_talking.metrics.functional import action_units
from nerfstudio_talking.metrics.functional.blinks import count_blinks
from nerfstudio_talking.metrics.functional.landmarks import face_height, landmark_distance, summarize_distance
from nerfstudio_talking.metrics.functional.lip_motion import agreement, correlation, spread_ratio


class LandmarkDistance(VideoMetric):
    """LMD over a video, and the frames that it leaves out: see `functional.landmarks.landmark_score`."""

    name = "lmd"
    display_name = "LMD"
    unit = "px"
    higher_is_better = False
    more = (
        ScoreInfo("lmd_relative", "LMD, relative", "% of the face's height", higher_is_better=False),
        ScoreInfo("faces_missed", "frames without a face", higher_is_better=False, number_format=".0f"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.add_series("measured")

    def update(
        self, rendered_landmarks: Float[np.ndarray, "points xy"], gt_landmarks: Float[np.ndarray, "points xy"]
    ) -> None:
        """Add a frame's landmarks in pixels, of 68, 468 or 478 points; NaN where no face was found."""
        distance = float(landmark_distance(rendered_landmarks, gt_landmarks))
        seen = [float(np.isfinite(points[:, :2]).all()) for points in (rendered_landmarks, gt_landmarks)]
        self.append("measured", np.array([distance, float(face_height(gt_landmarks)), *seen]))
        self._frame_scores = {self.name: distance} if np.isfinite(distance) else {}

    def compute(self) -> dict[str, float]:
        """`lmd` in pixels, `lmd_relative` in per cent, and the numbers of frames without a face."""
        if not len(self.series("measured")):
            return {}
        distance, height, seen_rendered, seen_gt = self.series("measured").T
        score = summarize_distance(distance, height, seen_rendered > 0, seen_gt > 0)
        return {
            "lmd": score.pixels,
            "lmd_relative": score.relative,
            "faces_missed": float(score.missed_rendered),
            f"{GT_PREFIX}faces_missed": float(score.missed_gt),
        }


class LipMotion(VideoMetric):
    """How rendered lips follow the ground truth's: see `functional.lip_motion.agreement`."""

    name = "lip_correlation"
    display_name = "lip opening, correlation"
    higher_is_better = True
    more = (
        ScoreInfo("lip_lag", "lip opening, late by", "frames", number_format=".0f", target="zero"),
        ScoreInfo("lip_spread", "lip opening, spread over the ground truth's", number_format=".2f"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.add_series("lips", "gt_lips")

    def update(
        self, rendered_landmarks: Float[np.ndarray, "478 xy"], gt_landmarks: Float[np.ndarray, "478 xy"]
    ) -> None:
        """Add a frame's FaceMesh points in pixels; NaN where no face was found. Frames are given in order."""
        for name, points in (("lips", rendered_landmarks), ("gt_lips", gt_landmarks)):
            self.append(name, lip_opening(points[None])[0])

    def compute(self) -> dict[str, float]:
        """`lip_correlation`; `lip_lag`, frames by which the rendered lips are late; `lip_spread`, below 1 where the
        rendered lips move too little."""
        lips, gt = self.series("lips"), self.series("gt_lips")
        agree = agreement(lips, gt)
        return {
            "lip_correlation": agree.correlation,
            "lip_lag": agree.best_lag,
            "lip_spread": spread_ratio(lips, gt),
        }


class Blinks(VideoMetric):
    """Blinks per minute of both videos: see `functional.blinks.count_blinks`.

    Args:
        fps: frames per second.
    """

    name = "blinks_per_minute"
    display_name = "blinks per minute"
    target = "gt"
    number_format = ".1f"
    more = (ScoreInfo("eye_correlation", "eye opening, correlation", higher_is_better=True),)

    def __init__(self, fps: float) -> None:
        super().__init__()
        self.fps = fps
        self.add_series("lids", "gt_lids")

    @classmethod
    def make(cls, options: MetricOptions) -> Self:
        """At the options' frame rate."""
        return cls(options.fps)

    def update(
        self, rendered_landmarks: Float[np.ndarray, "478 xy"], gt_landmarks: Float[np.ndarray, "478 xy"]
    ) -> None:
        """Add a frame's FaceMesh points in pixels; NaN where no face was found. Frames are given in order."""
        for name, points in (("lids", rendered_landmarks), ("gt_lids", gt_landmarks)):
            self.append(name, lid_gap(points[None])[0])

    def compute(self) -> dict[str, float]:
        """The rates, and `eye_correlation`, of the mean opening of both eyes; NaN where no eye was seen."""
        rates, opening = {}, {}
        for prefix in ("", GT_PREFIX):
            lids = self.series(f"{prefix}lids")
            eyes = eye_opening(lids)
            opening[prefix] = eyes.reshape(len(eyes), -1).mean(axis=1)
            minutes = len(lids) / self.fps / 60
            rates[f"{prefix}{self.name}"] = (
                count_blinks(eyes, self.fps) / minutes if np.isfinite(eyes).any() else np.nan
            )
        return rates | {"eye_correlation": correlation(opening[""], opening[GT_PREFIX])}


class ActionUnitError(VideoMetric):
    """AUE of the upper and of the lower face: see `functional.action_units.action_unit_error`. A subclass says where
    the intensities are from; numbers of one source only compare."""

    units: tuple[str, ...] = action_units.ACTION_UNITS
    """Action units of the columns."""
    higher_is_better = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(len(self.units), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("frames", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def compute(self) -> dict[str, float]:
        """`..._lower` and `..._upper`; NaN where no frame has both faces."""
        error = action_units.summarize_error(self.total.cpu().numpy(), int(self.frames), self.units)  # type: ignore[operator, arg-type]
        return {self.more[0].name: error.upper, self.name: error.lower}

    def add_intensities(
        self, rendered: Float[np.ndarray, "frames units"], gt: Float[np.ndarray, "frames units"]
    ) -> None:
        """Add frames' intensities, 0 to 5; rows with NaN are left out."""
        total, frames = action_units.sum_squared_error(rendered, gt)
        self.total += torch.from_numpy(total)  # type: ignore[operator]
        self.frames += frames  # type: ignore[operator]


class LandmarkActionUnitError(ActionUnitError):
    """AUE by the geometry of landmarks: `functional.action_units.from_landmarks`."""

    name = "aue_geometry_lower"
    display_name = "AUE, lower face (landmarks)"
    more = (ScoreInfo("aue_geometry_upper", "AUE, upper face (landmarks)", higher_is_better=False),)
    units = action_units.GEOMETRY_UNITS

    def update(
        self, rendered_landmarks: Float[np.ndarray, "478 xy"], gt_landmarks: Float[np.ndarray, "478 xy"]
    ) -> None:
        """Add a frame's FaceMesh points in pixels; NaN where no face was found."""
        pair = [action_units.from_landmarks(points[None]) for points in (rendered_landmarks, gt_landmarks)]
        self.add_intensities(pair[0], pair[1])


class BlendshapeActionUnitError(ActionUnitError):
    """AUE by MediaPipe's blendshapes: `functional.action_units.from_blendshapes`."""

    name = "aue_blendshapes_lower"
    display_name = "AUE, lower face (blendshapes)"
    more = (ScoreInfo("aue_blendshapes_upper", "AUE, upper face (blendshapes)", higher_is_better=False),)
    in_suite = False

    def update(self, rendered: Float[np.ndarray, "frames 52"], gt: Float[np.ndarray, "frames 52"]) -> None:
        """Add frames' blendshape weights in [0, 1]; NaN where no face was found."""
        self.add_intensities(action_units.from_blendshapes(rendered), action_units.from_blendshapes(gt))


class OpenFaceActionUnitError(ActionUnitError):
    """AUE by OpenFace, as papers give it: `functional.action_units.read_openface`."""

    name = "aue_openface_lower"
    display_name = "AUE, lower face (OpenFace)"
    more = (ScoreInfo("aue_openface_upper", "AUE, upper face (OpenFace)", higher_is_better=False),)
    in_suite = False

    def update(self, rendered: Float[np.ndarray, "frames 17"], gt: Float[np.ndarray, "frames 17"]) -> None:
        """Add frames' intensities of `ACTION_UNITS`, 0 to 5; NaN where OpenFace found no face."""
        self.add_intensities(rendered, gt)
