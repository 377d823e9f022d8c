"""Input of the motion model: patches of cepstral coefficients, and loudness."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter1d

from nerfstudio_talking.audio.extract import RATE
from nerfstudio_talking.audio.features.spectral import STREAM_RATE, mfcc
from nerfstudio_talking.audio.windows import frame_windows

WINDOW, COEFFICIENTS = 28, 12
"""Size of a frame's patch: 280 ms in rows of 10 ms, cepstral coefficients 1 to 12 (Yi et al. 2020, section 3)."""
_LEAD_SECONDS = 0.32
_RANGE_DB, _FLOOR_DB = 40.0, -60.0
"""Audio is silent `_RANGE_DB` below the clip's loud level, and below `_FLOOR_DB` of full scale."""
_PAUSE_SECONDS, _PAUSE_LEVEL = 0.25, 0.12
"""Standard deviation in seconds of the smoothing of loudness, and the smoothed level from which on it is speech."""


def cepstral_windows(
    samples: Float[np.ndarray, " samples"], fps: float, num_frames: int
) -> Float32[np.ndarray, "frames 28 12"]:
    """Patches of cepstral coefficients around the middle of each frame, without the coefficient of overall level.

    Args:
        samples: mono audio at 16 kHz that starts with frame 0; silence follows it.
        fps: frames per second.
        num_frames: number of patches.
    """
    lead = round(_LEAD_SECONDS * RATE)
    tail = max(round(num_frames / fps * RATE) - len(samples), 0)
    stream = mfcc(np.pad(samples, (lead, lead + tail)), RATE)[:, 1 : COEFFICIENTS + 1]
    return frame_windows(stream, STREAM_RATE, fps, num_frames, WINDOW, STREAM_RATE, start=-_LEAD_SECONDS)


def loudness(samples: Float[np.ndarray, " samples"], fps: float, num_frames: int) -> Float[np.ndarray, " frames"]:
    """Loudness of each frame's audio: 0 from 40 dB below the clip's loud level on, 1 at the loud level, at most 1.2.

    Arguments as in `cepstral_windows`.
    """
    edges = np.round(np.arange(num_frames + 1) * RATE / fps).astype(int)
    padded = np.pad(np.asarray(samples, dtype=np.float64), (0, max(edges[-1] - len(samples), 0)))
    power = np.add.reduceat(np.append(padded[: edges[-1]] ** 2, 0.0), edges[:-1]) / np.diff(edges)
    level = 10 * np.log10(power + 1e-12)
    loud = np.percentile(level[level > _FLOOR_DB], 95) if (level > _FLOOR_DB).any() else 0.0
    return np.where(level > _FLOOR_DB, np.clip((level - loud) / _RANGE_DB + 1.0, 0.0, 1.2), 0.0)


def smooth_loudness(level: Float[np.ndarray, " frames"], fps: float, seconds: float) -> Float[np.ndarray, " frames"]:
    """Smooth loudness over time with a Gaussian of standard deviation `seconds`."""
    return gaussian_filter1d(level, seconds * fps, mode="nearest")


def silence(level: Float[np.ndarray, " frames"], fps: float) -> Float[np.ndarray, " frames"]:
    """Silence from 0 (speech) to 1 (no speech within about half a second before and after), smooth in time."""
    speech = np.clip(smooth_loudness(level, fps, _PAUSE_SECONDS) / _PAUSE_LEVEL, 0.0, 1.0)
    return 1.0 - speech**2 * (3.0 - 2.0 * speech)
