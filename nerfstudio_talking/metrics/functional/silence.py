"""Whether lips rest while the audio does."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from nerfstudio_talking.audio.loudness import frame_power

_SHARE = 0.15
"""Opening up to which lips are closed, as a share of a wide vowel's."""
_FEWEST_FRAMES = 5
"""Silent frames below which a share of them says nothing."""


def silent_frames(
    samples: Float[np.ndarray, " samples"], fps: float, num_frames: int, rate: int = 16000, below_db: float = 35.0
) -> Bool[np.ndarray, " frames"]:
    """Frames in a pause: their audio, and that of two frames on either side, is quieter than speech by 35 dB or more.

    Lips close after the audio ends and open before it starts, hence the margin. Speech is the 95th percentile of the
    frames' power; of a silent recording every frame is silent.

    Args:
        samples: mono audio that starts with frame 0.
        fps: frames per second.
        num_frames: frames of the video.
        rate: samples per second.
        below_db: dB below speech from which on audio is silence.
    """
    power = frame_power(samples, fps, num_frames, rate)
    loud = np.percentile(power, 95) if num_frames else 0.0
    speech = (power > loud * 10 ** (-below_db / 10)) & (power > 1e-9)
    return ~np.convolve(speech, np.ones(5))[2 : 2 + num_frames].astype(bool)


def closed_in_silence(
    lips: Float[np.ndarray, " frames"], silent: Bool[np.ndarray, " frames"], scale: float, share: float = _SHARE
) -> float:
    """Share of the silent frames whose lips are closed, 0 to 1; NaN with fewer than five of them.

    Args:
        lips: lip opening of each frame, NaN where not seen.
        silent: from `silent_frames`.
        scale: opening of a wide vowel of the same person, as the 95th percentile of the ground truth's lips.
        share: lips are closed under this share of `scale`.
    """
    chosen = silent & np.isfinite(lips)
    if chosen.sum() < _FEWEST_FRAMES or not scale > 0:
        return float("nan")
    return float((lips[chosen] < share * scale).mean())
