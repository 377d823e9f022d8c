"""What the motion model hears: windows of cepstral coefficients, and loudness."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter1d

from nerfstudio_talking.audio.extract import RATE
from nerfstudio_talking.audio.features import STREAM_RATE, mfcc
from nerfstudio_talking.audio.windows import frame_windows

WINDOW, COEFFICIENTS = 28, 12
"""A frame's patch: 280 ms of rows every 10 ms, cepstral coefficients 1 to 12 (Yi et al. 2020, section 3)."""
_LEAD_SECONDS = 0.32
_RANGE_DB, _FLOOR_DB = 40.0, -60.0
"""Audio this far below the clip's loud level is silent, and so is anything below that level of full scale."""
_PAUSE_SECONDS, _PAUSE_LEVEL = 0.25, 0.12
"""Loudness smoothed over so many seconds is silence at 0 and speech from that level on."""


def cepstral_windows(
    samples: Float[np.ndarray, " samples"], fps: float, num_frames: int
) -> Float32[np.ndarray, "frames 28 12"]:
    """Patches around the middle of each frame; the coefficient of overall level is left out.

    Args:
        samples: mono audio at 16 kHz that starts with frame 0; what lies beyond it is silence.
        fps: frames per second.
        num_frames: patches to cut.
    """
    lead = round(_LEAD_SECONDS * RATE)
    tail = max(round(num_frames / fps * RATE) - len(samples), 0)
    stream = mfcc(np.pad(samples, (lead, lead + tail)), RATE)[:, 1 : COEFFICIENTS + 1]
    return frame_windows(stream, STREAM_RATE, fps, num_frames, WINDOW, STREAM_RATE, start=-_LEAD_SECONDS)


def loudness(samples: Float[np.ndarray, " samples"], fps: float, num_frames: int) -> Float[np.ndarray, " frames"]:
    """Level of each frame's audio from 0 (40 dB below the clip's loud level, or silent) to 1 (loud) or little more.

    Arguments as in `cepstral_windows`.
    """
    edges = np.round(np.arange(num_frames + 1) * RATE / fps).astype(int)
    padded = np.pad(np.asarray(samples, dtype=np.float64), (0, max(edges[-1] - len(samples), 0)))
    power = np.add.reduceat(np.append(padded[: edges[-1]] ** 2, 0.0), edges[:-1]) / np.diff(edges)
    level = 10 * np.log10(power + 1e-12)
    loud = np.percentile(level[level > _FLOOR_DB], 95) if (level > _FLOOR_DB).any() else 0.0
    return np.where(level > _FLOOR_DB, np.clip((level - loud) / _RANGE_DB + 1.0, 0.0, 1.2), 0.0)


def activity(level: Float[np.ndarray, " frames"], fps: float, seconds: float) -> Float[np.ndarray, " frames"]:
    """Loudness smoothed over time with a Gaussian of that standard deviation in seconds."""
    return gaussian_filter1d(level, seconds * fps, mode="nearest")


def silence(level: Float[np.ndarray, " frames"], fps: float) -> Float[np.ndarray, " frames"]:
    """1 where nothing has been heard for about half a second and nothing will be for as long, 0 in speech, smooth."""
    heard = np.clip(activity(level, fps, _PAUSE_SECONDS) / _PAUSE_LEVEL, 0.0, 1.0)
    return 1.0 - heard**2 * (3.0 - 2.0 * heard)
