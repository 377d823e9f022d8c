"""Head motion that audio does not determine: a random process with a person's own spectrum, on a clock audio drives.

The six numbers of a person's pose follow a vector autoregression (Luetkepohl 2005, chapter 3), so that axes keep their
own spectra and move together as they do in the person: a head that nods goes down as well. It is stable, so that it
cannot drift. The process runs on a clock of its own: loud speech makes that clock run faster, silence nearly stops it.
So the head calms where nobody speaks, without jumping back to anything, and its range does not depend on the audio.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.linalg import solve_discrete_lyapunov

from nerfstudio_talking.motion.audio_features import activity
from nerfstudio_talking.motion.statistics import loudness_coupling

_MOST_RADIUS = 0.995
"""Of the poles, per frame: what happened 30 s ago counts for 2 %."""
_RIDGE = 1e-5
"""Penalty of the fit, on the scale of the pose's variance: smooth motion leaves some directions nearly unseen."""
_WARM_UP = 1000
_FAST, _SLOW = 0.15, 1.0
"""Standard deviations in seconds of the loudness that drives speed, and of the one that tells pauses from silence."""
_QUIET, _STILL = 0.35, 0.12
"""Slow loudness below which the clock slows down, and its rate in long silence."""
_SLOWEST, _FASTEST = 0.3, 2.0
"""Bounds of the clock's rate within speech."""
_SLOPES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""How much faster the clock may run for loud audio: what is tried."""
_TRIALS = 24
"""Motions drawn to see how far a slope couples speed to loudness."""
_MARGIN, _KNEE = 0.1, 0.8
"""How far beyond the person's range a pose may go, of the range, and where the bound begins to be felt."""


@dataclass(frozen=True)
class HeadProcess:
    """A person's head motion as a process. Poses are six numbers as of `face_model.pose_vectors`."""

    mean: Float[np.ndarray, " axes"]
    low: Float[np.ndarray, " axes"]
    """Least pose the person takes, per axis."""
    high: Float[np.ndarray, " axes"]
    """Greatest pose the person takes, per axis."""
    scale: Float[np.ndarray, " axes"]
    """What a unit of the process is: radians and metres."""
    matrices: Float[np.ndarray, "order axes axes"]
    """x[t] = sum_k matrices[k] x[t-1-k] + noise[t]."""
    noise: Float[np.ndarray, "axes axes"]
    """The noise is this matrix times independent normal numbers."""
    rate: Float[np.ndarray, " line"]
    """Rate of the clock in speech: rate[0] + rate[1] * fast loudness."""


def fit_head_process(
    pose: Float[np.ndarray, "frames axes"],
    residual: Float[np.ndarray, "frames axes"],
    level: Float[np.ndarray, " frames"],
    fps: float,
    order: int = 6,
) -> HeadProcess:
    """Fit the process to what of a person's motion audio does not predict.

    The clock's dependence on loudness is chosen by trial: so that speed correlates with loudness, over drawn motions
    under the person's own audio, as it does in the recording.

    Args:
        pose: the person's poses.
        residual: poses less what is predicted of them (of any mean).
        level: loudness of each frame.
        fps: frames per second.
        order: of the autoregression.

    Raises:
        ValueError: too few frames for the order.
    """
    if len(pose) < 10 * order:
        raise ValueError(f"order {order} needs {10 * order} frames, not {len(pose)}")
    unit = np.maximum(pose.std(0), 1e-9)
    standardized = (residual - residual.mean(0)) / unit
    matrices, noise = vector_autoregression(standardized, order)
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
    rates = [_even_rate(slope, level, fps) for slope in _SLOPES]
    clocks = [np.cumsum(clock_rate(rate, level, fps)) for rate in rates]
    length = max(int(np.ceil(clock[-1])) for clock in clocks) + 3
    paths = [_own_path(process, length, np.random.default_rng(seed)) for seed in range(_TRIALS)]
    found = [np.mean([loudness_coupling(_played(path, clock), level, fps) for path in paths]) for clock in clocks]
    slope = np.interp(wanted, np.maximum.accumulate(found), _SLOPES)
    return replace(process, rate=_even_rate(float(slope), level, fps))


def vector_autoregression(
    values: Float[np.ndarray, "frames axes"], order: int
) -> tuple[Float[np.ndarray, "order axes axes"], Float[np.ndarray, "axes axes"]]:
    """Matrices of x[t] = sum_k A[k] x[t-1-k] + noise by least squares, and a factor of the noise's covariance.

    Poles are held within `_MOST_RADIUS`, which makes the process stable.
    """
    frames, axes = values.shape
    past = np.concatenate([values[order - 1 - k : frames - 1 - k] for k in range(order)], axis=1)
    now = values[order:]
    gram = past.T @ past + _RIDGE * len(past) * np.eye(order * axes)
    stacked = np.linalg.solve(gram, past.T @ now)
    errors = now - past @ stacked
    matrices = stacked.T.reshape(axes, order, axes).transpose(1, 0, 2)
    radius = float(np.abs(np.linalg.eigvals(companion(matrices))).max())
    matrices = matrices * min(1.0, _MOST_RADIUS / max(radius, 1e-9)) ** np.arange(1, order + 1)[:, None, None]
    covariance = errors.T @ errors / len(errors) + 1e-12 * np.eye(axes)
    return matrices, np.linalg.cholesky(covariance)


def companion(matrices: Float[np.ndarray, "order axes axes"]) -> Float[np.ndarray, "states states"]:
    """The autoregression as one of first order over `order` frames at once."""
    order, axes, _ = matrices.shape
    whole = np.zeros((order * axes, order * axes))
    whole[:axes] = matrices.transpose(1, 0, 2).reshape(axes, order * axes)
    whole[axes:, :-axes] = np.eye((order - 1) * axes)
    return whole


def stationary_covariance(
    matrices: Float[np.ndarray, "order axes axes"], noise: Float[np.ndarray, "axes axes"]
) -> Float[np.ndarray, "axes axes"]:
    """Covariance of the process in the long run, under noise of that covariance."""
    whole = companion(matrices)
    driven = np.zeros_like(whole)
    driven[: len(noise), : len(noise)] = noise
    return solve_discrete_lyapunov(whole, driven)[: len(noise), : len(noise)]


def clock_rate(
    rate: Float[np.ndarray, " line"], level: Float[np.ndarray, " frames"], fps: float
) -> Float[np.ndarray, " frames"]:
    """Own frames per frame: about 1 in speech, faster where it is loud, nearly still in long silence."""
    speech = np.clip(rate[0] + rate[1] * activity(level, fps, _FAST), _SLOWEST, _FASTEST)
    awake = np.clip(activity(level, fps, _SLOW) / _QUIET, 0.0, 1.0)
    awake = awake**2 * (3.0 - 2.0 * awake)  # smooth at both ends
    return _STILL + (speech - _STILL) * awake


def sample_head_process(
    process: HeadProcess,
    level: Float[np.ndarray, " frames"],
    fps: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "frames 6"]:
    """Deviations from the person's mean pose under an audio's loudness; another generator, another motion."""
    clock = np.cumsum(clock_rate(process.rate, level, fps))
    return _played(_own_path(process, int(np.ceil(clock[-1])) + 3, rng), clock)


def _own_path(process: HeadProcess, length: int, rng: np.random.Generator) -> Float[np.ndarray, "length axes"]:
    """The process frame by frame of its own clock."""
    order, axes, _ = process.matrices.shape
    steps = process.matrices.transpose(1, 0, 2).reshape(axes, order * axes)
    noise = rng.standard_normal((_WARM_UP + length, axes)) @ process.noise.T
    states = np.zeros((order + len(noise), axes))
    for frame in range(order, len(states)):
        states[frame] = steps @ states[frame - order : frame][::-1].ravel() + noise[frame - order]
    return states[-length:] * process.scale


def _played(
    path: Float[np.ndarray, "length axes"], clock: Float[np.ndarray, " frames"]
) -> Float[np.ndarray, "frames axes"]:
    """A path as it is seen under a clock that tells each frame's place on it."""
    return CubicSpline(np.arange(len(path)), path, axis=0)(clock)


def soft_clamp(
    values: Float[np.ndarray, "frames axes"], low: Float[np.ndarray, " axes"], high: Float[np.ndarray, " axes"]
) -> Float[np.ndarray, "frames axes"]:
    """Values held within a range, a tenth wider, per axis.

    The inner four fifths of that are left as they are, and the bend towards the bound is smooth.
    """
    middle = 0.5 * (high + low)
    half = np.maximum((0.5 + _MARGIN) * (high - low), 1e-9)
    where = (values - middle) / half
    beyond = np.maximum(np.abs(where) - _KNEE, 0.0)
    bent = np.sign(where) * (_KNEE + (1.0 - _KNEE) * np.tanh(beyond / (1.0 - _KNEE)))
    return middle + half * np.where(beyond > 0, bent, where)


def _even_rate(slope: float, level: Float[np.ndarray, " frames"], fps: float) -> Float[np.ndarray, " line"]:
    """A rate that grows with loudness by `slope` and is 1 in the mean over the person's own audio."""
    line = np.array([1.0 - slope * activity(level, fps, _FAST).mean(), slope])
    for _ in range(10):  # bounds and pauses take their share
        line = line / max(float(clock_rate(line, level, fps).mean()), 0.1)
    return line
