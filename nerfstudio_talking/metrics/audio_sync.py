"""Scores of lips against the audio: the sync score, SyncNet, and how lips behave in silence and in speech."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from typing_extensions import Self

from nerfstudio_talking.audio.sync import sync_score
from nerfstudio_talking.face.measurements import lip_opening
from nerfstudio_talking.metrics.base import GT_PREFIX, MetricOptions, ScoreInfo, Unavailable, VideoMetric
from nerfstudio_talking.metrics.functional.lip_motion import spread_ratio
from nerfstudio_talking.metrics.functional.silence import (
    closed_in_silence,
    closed_on_closures,
    lip_closures,
    motion_in_silence,
    speech_activity,
)
from nerfstudio_talking.metrics.functional.syncnet import SyncNet, syncnet_score


class LipsAgainstAudio(VideoMetric):
    """A score of the lips of both videos against the audio; frames are given in order.

    Args:
        fps: frames per second.
        samples: mono samples that start with the first frame.
        rate: samples per second.
    """

    def __init__(self, fps: float, samples: Float[np.ndarray, " samples"], rate: int = 16000) -> None:
        super().__init__()
        self.fps, self.samples, self.rate = fps, samples, rate
        self.add_series("lips", "gt_lips")

    @classmethod
    def make(cls, options: MetricOptions) -> Self:
        """With the options' audio."""
        if options.audio is None:
            raise Unavailable("no audio")
        return cls(options.fps, *options.audio)

    def update(
        self, rendered_landmarks: Float[np.ndarray, "478 xy"], gt_landmarks: Float[np.ndarray, "478 xy"]
    ) -> None:
        """Add a frame's FaceMesh points in pixels; NaN where no face was found."""
        for name, points in (("lips", rendered_landmarks), ("gt_lips", gt_landmarks)):
            self.append(name, lip_opening(points[None])[0])

    @property
    def padded_samples(self) -> Float[np.ndarray, " samples"]:
        """The audio, with silence at its end where it is shorter than the frames."""
        needed = int(np.ceil(len(self.series("lips")) / self.fps * self.rate)) + 1
        return np.pad(self.samples, (0, max(needed - len(self.samples), 0)))


class LipSync(LipsAgainstAudio):
    """How well lip opening is predicted from the audio, by lag, against chance: see `audio.sync`. No weights."""

    name = "sync_score"
    display_name = "sync, correlation at the best lag"
    higher_is_better = True
    more = (
        ScoreInfo("sync_lag", "sync, audio late by", "frames", number_format=".1f", target="zero"),
        ScoreInfo("sync_score_in_place", "sync, correlation at lag 0", higher_is_better=True),
        ScoreInfo("sync_null_max", "sync, highest correlation by chance"),
    )

    def compute(self) -> dict[str, float]:
        """Score at the best lag, that lag, score at lag 0, and the highest of curves that do not belong together. All
        are NaN for fewer than 50 frames; lag and highest also where too few curves can be compared, below about 9 s."""
        scores, samples = {}, self.padded_samples
        for prefix in ("", GT_PREFIX):
            estimate = sync_score(self.series(f"{prefix}lips"), samples, self.fps, self.rate)
            scores |= {
                f"{prefix}sync_score": estimate.score,
                f"{prefix}sync_lag": estimate.lag_frames if np.isfinite(estimate.null_max) else np.nan,
                f"{prefix}sync_score_in_place": estimate.score_in_place,
                f"{prefix}sync_null_max": estimate.null_max,
            }
        return scores


class SyncNetScore(VideoMetric):
    """SyncNet's confidence (LSE-C), distance (LSE-D) and lag: see `functional.syncnet`. Means over videos.

    Args:
        fps: frames per second of the crops.
        samples: mono audio at 16 kHz that starts with the first frame.
        network: from `functional.syncnet.load_syncnet`.
    """

    name = "syncnet_confidence"
    display_name = "SyncNet confidence (LSE-C)"
    higher_is_better = True
    more = (
        ScoreInfo("syncnet_distance", "SyncNet distance (LSE-D)", higher_is_better=False),
        ScoreInfo("syncnet_lag", "SyncNet, audio late by", "frames", number_format=".0f", target="zero"),
    )
    in_suite = False

    def __init__(self, fps: float, samples: Float[np.ndarray, " samples"], network: SyncNet) -> None:
        super().__init__()
        self.fps, self.samples = fps, samples
        self._network = [network]  # in a list: no part of this module's weights
        self.add_series("measured", "gt_measured")

    def update(
        self,
        rendered_crops: UInt8[np.ndarray, "frames 224 224 3"] | None = None,
        gt_crops: UInt8[np.ndarray, "frames 224 224 3"] | None = None,
    ) -> None:
        """Add a whole video: `functional.syncnet.face_crops` of the rendering, of the ground truth, or of both."""
        for name, crops in (("measured", rendered_crops), ("gt_measured", gt_crops)):
            if crops is not None:
                score = syncnet_score(crops, self.samples, self.fps, self._network[0])
                lag = float(score.lag) if np.isfinite(score.distance) else np.nan
                self.append(name, np.array([score.confidence, score.distance, lag]))

    def compute(self) -> dict[str, float]:
        """The three scores of each side that was given; NaN for less than half a second."""
        names = [self.name, *(info.name for info in self.more)]
        return {
            f"{prefix}{name}": value
            for prefix in ("", GT_PREFIX)
            if len(self.series(f"{prefix}measured"))
            for name, value in zip(names, self.series(f"{prefix}measured").mean(axis=0).tolist())
        }


class LipsInSilence(LipsAgainstAudio):
    """Whether the lips are closed and still while nobody speaks: see `functional.silence`."""

    name = "lips_closed_in_silence"
    display_name = "lips closed in silence"
    unit = "share of the silent frames"
    higher_is_better = True
    target = "gt"
    number_format = ".2f"
    more = (ScoreInfo("lip_motion_in_silence", "lip motion in silence", "wide vowels per second", False, ".2f", "gt"),)

    def compute(self) -> dict[str, float]:
        """Share of closed frames and mean speed; NaN with fewer than five silent frames."""
        gt_lips = self.series("gt_lips")
        silent = speech_activity(self.padded_samples, self.fps, len(gt_lips), self.rate) <= 0
        scale = wide_opening(gt_lips)
        scores = {}
        for prefix in ("", GT_PREFIX):
            lips = self.series(f"{prefix}lips")
            scores[f"{prefix}{self.name}"] = closed_in_silence(lips, silent, scale)
            scores[f"{prefix}lip_motion_in_silence"] = motion_in_silence(lips, silent, scale, self.fps)
        return scores


class LipsInSpeech(LipsAgainstAudio):
    """Whether the lips close and open in speech as the speaker's did: see `functional.silence`."""

    name = "lips_closed_on_closures"
    display_name = "lips closed on /p b m/"
    unit = "share of the speaker's closures"
    higher_is_better = True
    number_format = ".2f"
    more = (
        ScoreInfo("lip_closures", "lip closures in speech", number_format=".0f", target="gt"),
        ScoreInfo("articulation_ratio", "lip opening in speech, spread over the ground truth's", number_format=".2f"),
    )

    def compute(self) -> dict[str, float]:
        """Share of the ground truth's closures that are kept, the number of closures, and the ratio of the spreads; NaN
        with fewer than three closures or without speech."""
        lips, gt_lips = self.series("lips"), self.series("gt_lips")
        activity = speech_activity(self.padded_samples, self.fps, len(gt_lips), self.rate)
        scale = wide_opening(gt_lips)
        closures = {
            prefix: lip_closures(side, activity, scale, self.fps) for prefix, side in (("", lips), (GT_PREFIX, gt_lips))
        }
        speech = activity > 0
        return {
            self.name: closed_on_closures(lips, closures[GT_PREFIX], scale),
            **{f"{prefix}lip_closures": float(len(found)) for prefix, found in closures.items()},
            "articulation_ratio": spread_ratio(lips[speech], gt_lips[speech]),
        }


def wide_opening(lips: Float[np.ndarray, " frames"]) -> float:
    """Lip opening of a wide vowel: the 95th percentile of those seen; NaN where there are none."""
    seen = lips[np.isfinite(lips)]
    return float(np.percentile(seen, 95)) if len(seen) else np.nan
