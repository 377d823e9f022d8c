"""Lips and voices that belong together, made from noise."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

FPS = 25.0


def speech(seconds: float, seed: int, fps: float = FPS) -> tuple[np.ndarray, np.ndarray]:
    """Lips that open at random, and a voice: noise whose loudness and brightness follow them."""
    random = np.random.default_rng(seed)
    num_frames, num_samples = round(seconds * fps), round(seconds * 16000)
    lips = gaussian_filter1d(random.standard_normal(num_frames), 0.08 * fps)
    lips = np.clip(lips / lips.std() + 0.5, 0, None)
    opening = np.interp(np.arange(num_samples) / 16000, (np.arange(num_frames) + 0.5) / fps, lips)
    noise = random.standard_normal(num_samples)
    dull = gaussian_filter1d(noise, 8)
    return lips, (0.02 * noise + 0.1 * opening * dull / dull.std()).astype(np.float32)


def late(samples: np.ndarray, frames: float, fps: float = FPS) -> np.ndarray:
    shift = round(frames / fps * 16000)
    return np.roll(samples, shift)
