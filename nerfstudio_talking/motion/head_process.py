"""Random head motion: a vector autoregression with a person's own spectrum, time-warped by the loudness of speech.

The six parameters of a person's pose follow a vector autoregression (VAR; Luetkepohl 2005, chapter 3), so that each
axis has its own spectrum and axes move together as they do in the person: a head that nods moves down as well. The
process is stable, so that it cannot drift. It runs on a clock of its own, which loud speech accelerates and silence
nearly stops: the head calms down in silence without a jump, and the range of its motion does not depend on the audio.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.linalg import solve_discrete_lyapunov

from nerfstudio_talking.motion.audio_features import smooth_loudness
from nerfstudio_talking.motion.statistics import loudness_coupling

_MOST_RADIUS = 0.995
"""Greatest radius of the poles per frame, at which what happened 30 s ago still counts for 2 %."""
_RIDGE = 1e-5
"""Ridge penalty of the fit, relative to the pose's variance: smooth motion leaves some directions badly determined."""
_WARM_UP = 1000
_FAST, _SLOW = 0.15, 1.0
"""Standard deviations in seconds of the smoothing of loudness: for speed, and to distinguish pauses from silence."""
_QUIET, _STILL = 0.35, 0.12
"""Slowly smoothed loudness below which the clock slows down, and its rate in long silence."""
_SLOWEST, _FASTEST = 0.3, 2.0
"""Bounds of the clock's rate in speech."""
_SLOPES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Slopes of the clock's rate over loudness that are tried."""
_TRIALS = 24
"""Number of motions drawn to measure how strongly a slope couples speed to loudness."""
_MARGIN, _KNEE = 0.1, 0.8
"""Margin of the soft clamp beyond the person's range, as a share of the range; share of the half range from which on it
bends."""


@dataclass(frozen=True)
class HeadProcess:
    """A person's head motion as a random process. Poses are those of `linear_face_model.pose_vectors`."""

    mean: Float[np.ndarray, " axes"]
    """Mean pose."""
    low: Float[np.ndarray, " axes"]
    """Least value of each axis in the clip."""
    high: Float[np.ndarray, " axes"]
    """Greatest value of each axis in the clip."""
    scale: Float[np.ndarray, " axes"]
    """Unit of the process on each axis, radians and metres."""
    matrices: Float[np.ndarray, "order axes axes"]
    """x[t] = sum_k matrices[k] x[t-1-k] + noise[t]."""
    noise: Float[np.ndarray, "axes axes"]
    """Factor of the noise's covariance: the noise is this matrix times independent normal numbers."""
    rate: Float[np.ndarray, " line"]
    """Rate of the clock in speech: rate[0] + rate[1] * fast loudness."""


def fit_head_process(
    pose: Float[np.ndarray, "frames axes"],
    residual: Float[np.ndarray, "frames axes"],
    level: Float[np.ndarray, " frames"],
    fps: float,
    order: int = 6,
) -> HeadProcess:
    """Fit the process to the part of a person's motion that audio does not predict.

    The slope of the clock's rate is chosen so that the correlation of speed with loudness, over motions drawn for the
    person's own audio, is that of the clip.

    Args:
        pose: the person's poses.
        residual: poses minus their prediction (of any mean).
        level: loudness of each frame.
        fps: frames per second.
        order: order of the autoregression.

    Raises:
        ValueError: too few frames for the order.
    """
    if len(pose) < 10 * order:
        raise ValueError(f"order {order} needs {10 * order} frames, not {len(pose)}")
    unit = np.maximum(pose.std(0), 1e-9)
    standardized = (residual - residual.mean(0)) / unit
    matrices, noise = fit_vector_autoregression(standardized, order)
    spread = np.sqrt(np.diag(stationary_covariance(matrices, noise @ noise.T)))
    process = HeadProcess(
        mean=pose.mean(0),
        low=pose.min(0),
        high=pose.max(0),
        scale=unit * standardized.std(0) / np.maximum(spread, 1e-9),
        matrices=matrices,
        noise=noise,
        rate=np.array([1.0, 0.0]),
    )
    wanted = loudness_coupling(pose, level, fps)
    rates = [_normalize_rate(slope, level, fps) for slope in _SLOPES]
    clocks = [np.cumsum(clock_rate(rate, level, fps)) for rate in rates]
    length = max(int(np.ceil(clock[-1])) for clock in clocks) + 3
    paths = [_draw_path(process, length, np.random.default_rng(seed)) for seed in range(_TRIALS)]
    found = [
        np.mean([loudness_coupling(_resample_path(path, clock), level, fps) for path in paths]) for clock in clocks
    ]
    slope = np.interp(wanted, np.maximum.accumulate(found), _SLOPES)
    return replace(process, rate=_normalize_rate(float(slope), level, fps))


def fit_vector_autoregression(
    values: Float[np.ndarray, "frames axes"], order: int
) -> tuple[Float[np.ndarray, "order axes axes"], Float[np.ndarray, "axes axes"]]:
    """Matrices of x[t] = sum_k A[k] x[t-1-k] + noise by least squares, and a factor of the noise's covariance.

    Poles are shrunk into a circle of radius `_MOST_RADIUS`, which makes the process stable.
    """
    frames, axes = values.shape
    past = np.concatenate([values[order - 1 - k : frames - 1 - k] for k in range(order)], axis=1)
    now = values[order:]
    gram = past.T @ past + _RIDGE * len(past) * np.eye(order * axes)
    stacked = np.linalg.solve(gram, past.T @ now)
    errors = now - past @ stacked
    matrices = stacked.T.reshape(axes, order, axes).transpose(1, 0, 2)
    radius = float(np.abs(np.linalg.eigvals(companion_matrix(matrices))).max())
    matrices = matrices * min(1.0, _MOST_RADIUS / max(radius, 1e-9)) ** np.arange(1, order + 1)[:, None, None]
    covariance = errors.T @ errors / len(errors) + 1e-12 * np.eye(axes)
    return matrices, np.linalg.cholesky(covariance)


def companion_matrix(matrices: Float[np.ndarray, "order axes axes"]) -> Float[np.ndarray, "states states"]:
    """Companion matrix: the autoregression as one of first order over `order` frames at once."""
    order, axes, _ = matrices.shape
    whole = np.zeros((order * axes, order * axes))
    whole[:axes] = matrices.transpose(1, 0, 2).reshape(axes, order * axes)
    whole[axes:, :-axes] = np.eye((order - 1) * axes)
    return whole


def stationary_covariance(
    matrices: Float[np.ndarray, "order axes axes"], noise: Float[np.ndarray, "axes axes"]
) -> Float[np.ndarray, "axes axes"]:
    """Stationary covariance of the process under noise of the given covariance."""
    whole = companion_matrix(matrices)
    driven = np.zeros_like(whole)
    driven[: len(noise), : len(noise)] = noise
    return solve_discrete_lyapunov(whole, driven)[: len(noise), : len(noise)]


def clock_rate(
    rate: Float[np.ndarray, " line"], level: Float[np.ndarray, " frames"], fps: float
) -> Float[np.ndarray, " frames"]:
    """Rate of the process' clock per frame: about 1 in speech, more where it is loud, near 0 in long silence."""
    speech = np.clip(rate[0] + rate[1] * smooth_loudness(level, fps, _FAST), _SLOWEST, _FASTEST)
    share = np.clip(smooth_loudness(level, fps, _SLOW) / _QUIET, 0.0, 1.0)
    share = share**2 * (3.0 - 2.0 * share)  # smooth at both ends
    return _STILL + (speech - _STILL) * share


def sample_head_process(
    process: HeadProcess,
    level: Float[np.ndarray, " frames"],
    fps: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "frames 6"]:
    """Draw deviations from the person's mean pose for audio of the given loudness."""
    clock = np.cumsum(clock_rate(process.rate, level, fps))
    return _resample_path(_draw_path(process, int(np.ceil(clock[-1])) + 3, rng), clock)


def _draw_path(process: HeadProcess, length: int, rng: np.random.Generator) -> Float[np.ndarray, "length axes"]:
    """Draw the process, frame by frame of its own clock."""
    order, axes, _ = process.matrices.shape
    steps = process.matrices.transpose(1, 0, 2).reshape(axes, order * axes)
    noise = rng.standard_normal((_WARM_UP + length, axes)) @ process.noise.T
    states = np.zeros((order + len(noise), axes))
    for frame in range(order, len(states)):
        states[frame] = steps @ states[frame - order : frame][::-1].ravel() + noise[frame - order]
    return states[-length:] * process.scale


def _resample_path(
    path: Float[np.ndarray, "length axes"], clock: Float[np.ndarray, " frames"]
) -> Float[np.ndarray, "frames axes"]:
    """Interpolate a path at each frame's time on the process' clock."""
    return CubicSpline(np.arange(len(path)), path, axis=0)(clock)


def soft_clamp(
    values: Float[np.ndarray, "frames axes"], low: Float[np.ndarray, " axes"], high: Float[np.ndarray, " axes"]
) -> Float[np.ndarray, "frames axes"]:
    """Clamp values softly to a range widened by a tenth, per axis.

    Values in the inner four fifths of it stay unchanged; beyond, they approach the bound smoothly.
    """
    middle = 0.5 * (high + low)
    half = np.maximum((0.5 + _MARGIN) * (high - low), 1e-9)
    relative = (values - middle) / half
    beyond = np.maximum(np.abs(relative) - _KNEE, 0.0)
    bent = np.sign(relative) * (_KNEE + (1.0 - _KNEE) * np.tanh(beyond / (1.0 - _KNEE)))
    return middle + half * np.where(beyond > 0, bent, relative)


def _normalize_rate(slope: float, level: Float[np.ndarray, " frames"], fps: float) -> Float[np.ndarray, " line"]:
    """A rate that grows with loudness by `slope`, scaled to a mean of 1 over the person's own audio."""
    line = np.array([1.0 - slope * smooth_loudness(level, fps, _FAST).mean(), slope])
    for _ in range(10):  # bounds and pauses change the mean
        line = line / max(float(clock_rate(line, level, fps).mean()), 0.1)
    return line
