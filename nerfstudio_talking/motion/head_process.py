"""Head motion that sound does not determine: a random process with a person's own spectrum, on a clock sound drives.

Each principal axis of the person's pose is an autoregressive process fitted by Burg's method, which is stable and
keeps the sharp spectra of short records, and damped enough to forget, so that it cannot drift. The process runs
on a clock of its own: loud speech makes that clock run faster, silence nearly stops it. So the head calms where nobody
speaks, without jumping back to anything, and its range does not depend on the sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.signal import lfilter

from nerfstudio_talking.motion.sound import activity

_MOST_RADIUS = 0.995
"""Of the poles, per frame: what happened 30 s ago counts for 2 %."""
_WARM_UP = 1000
_FAST, _SLOW = 0.15, 1.0
"""Standard deviations in seconds of the loudness that drives speed, and of the one that tells pauses from silence."""
_QUIET, _STILL = 0.35, 0.12
"""Slow loudness below which the clock slows down, and its rate in long silence."""
_SLOWEST, _FASTEST = 0.3, 2.0
"""Bounds of the clock's rate within speech."""
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
    axes: Float[np.ndarray, "6 6"]
    """Rows: principal axes of the pose, each scaled to its own standard deviation."""
    coefficients: Float[np.ndarray, "6 order"]
    """Each axis: x[t] = sum_k coefficients[k] x[t-1-k] + noise[t]."""
    noise: Float[np.ndarray, " axes"]
    """Standard deviation of the noise that gives each axis unit variance."""
    rate: Float[np.ndarray, " line"]
    """Speed of the head over its mean: rate[0] + rate[1] * fast loudness."""


def fit_head_process(
    pose: Float[np.ndarray, "frames 6"],
    residual: Float[np.ndarray, "frames 6"],
    level: Float[np.ndarray, " frames"],
    fps: float,
    order: int = 12,
) -> HeadProcess:
    """Fit the process to what of a person's motion sound does not predict.

    Args:
        pose: the person's poses.
        residual: poses less what is predicted of them (of any mean).
        level: loudness of each frame.
        fps: frames per second.
        order: of the autoregression.

    Raises:
        ValueError: too few frames for the order.
    """
    if len(pose) < 4 * order:
        raise ValueError(f"order {order} needs {4 * order} frames, not {len(pose)}")
    scale = np.maximum(pose.std(0), 1e-9)
    centred = (residual - residual.mean(0)) / scale
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    spread = np.sqrt(np.maximum(variances, 1e-12))
    scores = centred @ vectors / spread
    fits = [burg(column, order) for column in scores.T]
    rate = _speed_of_loudness(pose / scale, level, fps)
    return HeadProcess(
        mean=pose.mean(0),
        low=pose.min(0),
        high=pose.max(0),
        axes=(vectors * spread).T * scale,
        coefficients=np.array(fits),
        noise=np.array([1.0 / np.sqrt(impulse_energy(fit)) for fit in fits]),
        rate=rate,
    )


def burg(values: Float[np.ndarray, " frames"], order: int) -> Float[np.ndarray, " order"]:
    """Autoregression x[t] = sum_k a[k] x[t-1-k] by Burg's method (1967), its poles held within `_MOST_RADIUS`.

    Burg's fit is stable in theory; of pure tones rounding makes it not.
    """
    import librosa

    poles = np.roots(librosa.lpc(np.ascontiguousarray(values), order=order))
    poles = poles * np.minimum(1.0, _MOST_RADIUS / np.maximum(np.abs(poles), 1e-12))
    return -np.real(np.poly(poles))[1:]


def impulse_energy(coefficients: Float[np.ndarray, " order"]) -> float:
    """Variance of the process under noise of unit variance."""
    impulse = np.zeros(20000)
    impulse[0] = 1.0
    return float(np.square(np.asarray(lfilter([1.0], np.append(1.0, -coefficients), impulse))).sum())


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
    """Deviations from the person's mean pose under a sound's loudness; another generator, another motion."""
    clock = np.cumsum(clock_rate(process.rate, level, fps))
    length = int(np.ceil(clock[-1])) + 3
    noise = rng.standard_normal((len(process.axes), _WARM_UP + length)) * process.noise[:, None]
    scores = np.array(
        [lfilter([1.0], np.append(1.0, -row), column) for row, column in zip(process.coefficients, noise)]
    )[:, _WARM_UP:]
    return CubicSpline(np.arange(length), scores.T, axis=0)(clock) @ process.axes


def bounded(
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


def _speed_of_loudness(
    pose: Float[np.ndarray, "frames 6"], level: Float[np.ndarray, " frames"], fps: float
) -> Float[np.ndarray, " line"]:
    """Least squares of the turning speed over its mean on fast loudness; louder is never slower."""
    speed = np.linalg.norm(np.gradient(pose[:, :3], axis=0), axis=1)
    speed = speed / max(speed.mean(), 1e-9)
    loud = activity(level, fps, _FAST)
    loud_centred = loud - loud.mean()
    slope = max(float(loud_centred @ speed / max(loud_centred @ loud_centred, 1e-9)), 0.0)
    return np.array([1.0 - slope * loud.mean(), slope])
