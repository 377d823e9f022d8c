"""Short videos of the committed sample, and of a poor rendering of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from helpers.paths import SAMPLE
from nerfstudio_talking.media.reading import read_audio, read_frames
from nerfstudio_talking.media.writing import VideoWriter

NUM_RENDERED, NUM_TRUE, SIDE = 52, 56, 192
"""Just enough frames for the sync score."""


def sample_frames() -> list[np.ndarray]:
    """The first 56 frames at 192x192."""
    frames = read_frames(SAMPLE / "sample.mp4", stop=NUM_TRUE)
    return [np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for frame in frames]


def write_video(path: Path, frames: list[np.ndarray], fps: float = 25.0, with_audio: bool = True) -> Path:
    """Write frames, with the sample's audio where asked for."""
    audio = (read_audio(SAMPLE / "sample.mp4", duration=len(frames) / fps), 16000) if with_audio else None
    with VideoWriter(path, fps, frames[0].shape[1], frames[0].shape[0], audio=audio, crf=4) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def write_video_pair(folder: Path, frames: list[np.ndarray]) -> dict[str, Path]:
    """`gt`, the sample, and `small`: 52 of its frames blurred, noisy, at 160x160 and without audio."""
    rng = np.random.default_rng(0)
    blurred = [gaussian_filter(frame, (1.2, 1.2, 0)) for frame in frames[:NUM_RENDERED]]
    noisy = [np.clip(frame + rng.normal(0, 12, frame.shape), 0, 255).astype(np.uint8) for frame in blurred]
    small = [np.asarray(Image.fromarray(frame).resize((160, 160))) for frame in noisy]
    return {
        "gt": write_video(folder / "ground_truth.mp4", frames),
        "small": write_video(folder / "small.mp4", small, with_audio=False),
    }
