"""Other voices, rooms and microphones, made from a recording: the lips stay as they are."""

from __future__ import annotations

import librosa
import numpy as np
from jaxtyping import Float32
from scipy.signal import lfilter

NUM_VARIANTS = 2
"""Augmented variants of a clip."""
_FORMANTS = (0.88, 1.12)
"""Factors by which variants lower pitch and formants."""


def augment(
    samples: Float32[np.ndarray, " samples"], variant: int, random: np.random.Generator
) -> Float32[np.ndarray, " samples"]:
    """A variant of a recording: another pitch with its formants, another tilt of the spectrum, and noise.

    Args:
        samples: mono audio at 16 kHz.
        variant: which of the shifts of the formants.
        random: source of the filter and the noise.
    """
    factor = _FORMANTS[variant % len(_FORMANTS)]
    slowed = librosa.resample(samples, orig_sr=16000, target_sr=int(16000 * factor), res_type="soxr_qq")
    voice = librosa.effects.time_stretch(slowed, rate=len(slowed) / len(samples), n_fft=512, hop_length=128)
    voice = np.pad(voice, (0, max(len(samples) - len(voice), 0)))[: len(samples)]
    voice = np.asarray(lfilter([1.0, -random.uniform(-0.6, 0.6)], [1.0], voice))
    noise = np.asarray(lfilter([1.0], [1.0, -random.uniform(0.0, 0.95)], random.standard_normal(len(voice))))
    ratio_db = random.uniform(15.0, 35.0)
    level = np.sqrt(np.mean(voice**2)) * 10 ** (-ratio_db / 20) / np.sqrt(np.mean(noise**2))
    return (voice + level * noise).astype(np.float32)
