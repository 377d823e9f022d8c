"""Is the audio in time with the lips? Regression of lip opening on audio, swept over lags, against chance.

Loudness alone says little about lips, so each lag is judged by how well a regression on mel spectra predicts lip
opening on blocks of frames it was not fitted to. No weights, no download; it serves recorded and rendered video alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import gaussian_filter1d

from nerfstudio_talking.audio.features.spectral import STREAM_RATE, log_mel
from nerfstudio_talking.audio.windows import frame_windows

_BANDS, _WINDOW, _WINDOW_RATE = 20, 8, 50.0
"""160 ms: longer windows predict no better and blur the peak over the lags they cover."""
_LINEAR, _WIDTH, _PENALTY = 0.3, 0.3, 0.4
"""Kernel = 0.3 linear + Gaussian; among those tried, the one whose score stood out most from the null."""
_FOLDS, _GUARD = 6, 8
_TREND_SECONDS = 2.0
"""Slower changes of lip opening (posture, a smile) are not speech."""
_PEAK_SHARE = 0.8
_FEWEST, _MOST = 50, 750
_NULL_STEP = 0.24
"""Seconds between the shifts of the null: closer ones give curves that are nearly the same."""
NULL_LEAST, _NULL_MOST = 20, 64
"""With fewer shifts than the first, a score above all of them means little."""
_CLEARLY, _PARTS, _AGREE = 1.15, 3, 3
"""Some seconds of lips may follow the audio of other moments better than their own: wrong peaks are rarely much above
those of the null (ratio), and rarely found again in two of three parts of the clip (frames)."""


@dataclass(frozen=True)
class OffsetEstimate:
    """How late the audio is, and how sure that is."""

    lag_frames: float
    """Frames by which the audio is late: positive = late, negative = early. The centre of the peak."""
    score: float
    """Cross-validated correlation of true and predicted lip opening at the best lag; NaN where nothing can be said."""
    score_in_place: float
    """The same at lag 0."""
    null_max: float
    """Largest best-lag score among circularly shifted lip curves; NaN with fewer than 20 of them."""
    null_mean: float
    """Mean best-lag score among them; NaN with fewer than 20."""
    null_size: int
    """Number of shifted lip curves."""
    lags: Int64[np.ndarray, " lags"]
    """Lags tried, in frames."""
    curve: Float[np.ndarray, " lags"]
    """Score at each of them."""
    parts: Int64[np.ndarray, " parts"]
    """Best lag of each third of the clip by itself."""

    @property
    def significant(self) -> bool:
        """Whether the best lag stands out: its score is clearly above that of 20 shifted curves or more, two of the
        clip's thirds agree with it, and it is not at the end of the sweep."""
        best = int(np.argmax(self.curve)) if np.isfinite(self.score) else 0
        agree = int((np.abs(self.parts - self.lags[best]) <= _AGREE).sum())
        clear = self.null_size >= NULL_LEAST and bool(self.score > _CLEARLY * self.null_max)
        return clear and agree >= _PARTS - 1 and 0 < best < len(self.curve) - 1

    @property
    def frames(self) -> int:
        """Whole frames by which the audio is late; 0 where the estimate is not significant."""
        return round(self.lag_frames) if self.significant else 0


def estimate_offset(
    lips: Float[np.ndarray, " frames"],
    samples: Float[np.ndarray, " samples"],
    fps: float,
    max_lag_frames: int = 12,
    rate: int = 16000,
) -> OffsetEstimate:
    """How many frames late the audio is.

    For every lag, kernel ridge regression predicts lip opening from 160 ms of log-mel spectrum, six contiguous blocks
    held out in turn; the score is the correlation of prediction and ground truth. The null repeats the whole sweep with
    the lip curve shifted circularly by two seconds and more, in steps of 0.24 s: 20 shifts, which take 8.6 s of video
    at 25 frames per second, are the least that an estimate is judged by; its score has to be 15 % above theirs, and two
    of the clip's thirds have to have their best lag within 3 frames. Frames where lips are NaN are bridged and not
    scored. Of longer clips the middle 750 frames are used.

    Args:
        lips: lip opening of each frame, any unit; NaN where not seen.
        samples: mono audio that starts with frame 0.
        fps: frames per second.
        max_lag_frames: lags from minus this to plus this are tried.
        rate: samples per second of the audio.

    Returns:
        The estimate; with fewer than 50 frames seen, lips that never move, or silence, its score is NaN and it is not
        significant.
    """
    lips = np.asarray(lips, dtype=np.float64)
    if lips.ndim != 1 or samples.ndim != 1 or len(samples) < len(lips):
        raise ValueError(f"lips {lips.shape} come first, then samples {samples.shape}: one axis each")
    lags = np.arange(-max_lag_frames, max_lag_frames + 1)
    first = max((len(lips) - _MOST) // 2, 0)
    lips = lips[first : first + _MOST]
    seen = np.isfinite(lips)
    inputs = _inputs(samples, rate, fps, first, len(lips), max_lag_frames)
    if seen.sum() < _FEWEST or np.ptp(lips[seen]) < 1e-6 or not inputs.any():
        nothing = np.full(len(lags), np.nan)
        return OffsetEstimate(0.0, np.nan, np.nan, np.nan, np.nan, 0, lags, nothing, np.zeros(_PARTS, dtype=np.int64))
    frames = np.arange(len(lips))
    target = np.interp(frames, frames[seen], lips[seen])
    target -= gaussian_filter1d(target, _TREND_SECONDS * fps, mode="nearest")
    away = max(round(2 * fps), 2 * max_lag_frames)
    room = len(lips) - 2 * away
    shifts = np.arange(away, len(lips) - away + 1, max(round(_NULL_STEP * fps), -(-room // _NULL_MOST), 1))
    targets = np.stack([target, *(np.roll(target, shift) for shift in shifts)], axis=1)
    weights = np.stack([seen, *(np.roll(seen, shift) for shift in shifts)], axis=1).astype(np.float64)
    kernel = _kernel(inputs)
    curves, by_part = np.empty((len(lags), targets.shape[1])), np.empty((len(lags), _PARTS))
    third = np.eye(_PARTS)[frames * _PARTS // len(lips)] * weights[:, :1]
    targets = (targets / target.std()).astype(np.float32)
    for row in range(len(lags)):  # audio that is late by L: frame i goes with the audio of frame i + L
        part = slice(row, row + len(lips))
        predicted = _held_out(kernel[part, part], targets)
        curves[row] = _correlation(predicted, targets, weights)
        own = np.zeros(_PARTS, dtype=np.int64)  # the first column, once for each part
        by_part[row] = _correlation(predicted[:, own], targets[:, own], third)
    curve = curves[:, 0]
    null = curves[:, 1:].max(axis=0) if len(shifts) >= NULL_LEAST else np.array([np.nan])
    return OffsetEstimate(
        lag_frames=_peak_centre(lags, curve),
        score=float(curve.max()),
        score_in_place=float(curve[max_lag_frames]),
        null_max=float(null.max()),
        null_mean=float(null.mean()),
        null_size=len(shifts),
        lags=lags,
        curve=curve,
        parts=lags[by_part.argmax(axis=0)],
    )


def sync_score(
    lips: Float[np.ndarray, " frames"], samples: Float[np.ndarray, " samples"], fps: float, rate: int = 16000
) -> OffsetEstimate:
    """How well a video's lips follow its audio: `score` against `null_max`, and `lag_frames` from where they should be.

    The weight-free counterpart of SyncNet's confidence and offset; `estimate_offset` with its usual sweep of 12 frames.
    """
    return estimate_offset(lips, samples, fps, rate=rate)


def _inputs(
    samples: np.ndarray, rate: int, fps: float, first: int, num_frames: int, margin: int
) -> Float[np.ndarray, "wider inputs"]:
    """Standardised windows of frames first - margin ... first + num_frames + margin; all zero for silence."""
    stream = log_mel(samples, rate)
    stream = stream.reshape(len(stream), _BANDS, -1).mean(axis=2)
    windows = frame_windows(
        stream, STREAM_RATE, fps, num_frames + 2 * margin, _WINDOW, _WINDOW_RATE, first=first - margin
    )
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    return (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 0.1)


def _kernel(inputs: Float[np.ndarray, "frames inputs"]) -> Float[np.ndarray, "frames frames"]:
    """Linear plus Gaussian kernel; distances are per input."""
    products = inputs @ inputs.T / inputs.shape[1]
    square = np.diag(products)
    distance = np.maximum(square[:, None] + square[None] - 2 * products, 0)
    return (_LINEAR * products + np.exp(-_WIDTH * distance)).astype(np.float32)  # single precision: half the time


def _held_out(
    kernel: Float[np.ndarray, "frames frames"], targets: Float[np.ndarray, "frames curves"]
) -> Float[np.ndarray, "frames curves"]:
    """Prediction of each block of frames by a regression on the others, some frames' distance away."""
    num_frames = len(kernel)
    frames = np.arange(num_frames)
    predicted = np.empty_like(targets)
    for block in np.array_split(frames, _FOLDS):
        rest = frames[(frames < block[0] - _GUARD) | (frames > block[-1] + _GUARD)]
        mean = targets[rest].mean(axis=0)
        system = kernel[np.ix_(rest, rest)]
        system[np.diag_indices_from(system)] += _PENALTY
        dual = cho_solve(cho_factor(system, overwrite_a=True, check_finite=False), targets[rest] - mean)
        predicted[block] = kernel[np.ix_(block, rest)] @ dual + mean
    return predicted


def _correlation(
    a: Float[np.ndarray, "frames curves"],
    b: Float[np.ndarray, "frames curves"],
    weights: Float[np.ndarray, "frames curves"],
) -> Float[np.ndarray, " curves"]:
    """Pearson's correlation of each column, over the frames of weight 1."""
    total = np.maximum(weights.sum(axis=0), 1e-12)
    a = (a - (a * weights).sum(axis=0) / total) * weights
    b = (b - (b * weights).sum(axis=0) / total) * weights
    return (a * b).sum(axis=0) / np.sqrt(np.maximum((a**2).sum(axis=0) * (b**2).sum(axis=0), 1e-24))


def _peak_centre(lags: Int64[np.ndarray, " lags"], curve: Float[np.ndarray, " lags"]) -> float:
    """Centre of gravity of the peak above 80 % of its height: windows overlap, so tops are flat."""
    top = int(np.argmax(curve))
    if curve[top] <= 0:
        return float(lags[top])
    low, high = top, top
    level = _PEAK_SHARE * curve[top]
    while low > 0 and curve[low - 1] >= level:
        low -= 1
    while high < len(curve) - 1 and curve[high + 1] >= level:
        high += 1
    above = curve[low : high + 1] - level
    return float((above * lags[low : high + 1]).sum() / above.sum())
