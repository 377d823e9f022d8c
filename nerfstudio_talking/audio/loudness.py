"""How loud each frame's audio is."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Float64


def frame_power(
    samples: Float[np.ndarray, " samples"], fps: float, num_frames: int, rate: int = 16000
) -> Float64[np.ndarray, " frames"]:
    """Mean square of the samples that each frame shows, in [0, 1] for samples in [-1, 1]; 0 beyond the audio.

    Args:
        samples: mono audio that starts with frame 0.
        fps: frames per second.
        num_frames: frames of the video.
        rate: samples per second.
    """
    edges = (np.arange(num_frames + 1) / fps * rate).round().astype(int)
    power = np.zeros(num_frames)
    for frame, (first, last) in enumerate(itertools.pairwise(edges)):
        cut = samples[first:last]
        power[frame] = float(np.mean(np.square(cut, dtype=np.float64))) if len(cut) else 0.0
    return power


def frame_loudness(
    samples: Float[np.ndarray, " samples"],
    fps: float,
    num_frames: int,
    rate: int = 16000,
    range_db: float = 60.0,
) -> Float64[np.ndarray, " frames"]:
    """Loudness of each frame's audio in dB of full scale, floored `range_db` below the loudest frame.

    Arguments as in `frame_power`. Silence throughout is one constant, -120 - `range_db`.
    """
    power = frame_power(samples, fps, num_frames, rate)
    loudest = max(float(power.max(initial=0.0)), 1e-12)
    return 10 * np.log10(np.maximum(power, loudest * 10 ** (-range_db / 10)))
