"""Whether lips rest while nobody speaks, close where the speaker's closed, and move in speech as far as his did."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from nerfstudio_talking.audio.voice_activity import voice_activity

CLOSED_SHARE = 0.15
"""Opening up to which lips are closed, as a share of a wide vowel's."""
_FEWEST_FRAMES = 5
"""Frames below which a share of them says nothing."""
_FEWEST_CLOSURES = 3
"""Closures below which a share of them says nothing."""
_LONGEST_CLOSURE = 0.32
"""Seconds from which on closed lips in speech are a pause that was not heard, no consonant."""


def speech_activity(
    samples: Float[np.ndarray, " samples"], fps: float, num_frames: int, rate: int = 16000
) -> Float32[np.ndarray, " frames"]:
    """Voice activity of each frame: 1 in speech, 0 in a pause, in between within a tenth of a second of speech.

    By `audio.voice_activity`, so that a pause is one in a room that is not quiet, too.

    Args:
        samples: mono audio that starts with frame 0.
        fps: frames per second.
        num_frames: frames of the video.
        rate: samples per second.
    """
    if rate != 16000:
        import librosa

        samples = librosa.resample(np.asarray(samples, dtype=np.float32), orig_sr=rate, target_sr=16000)
    return voice_activity(samples, fps, num_frames)


def closed_in_silence(
    lips: Float[np.ndarray, " frames"],
    silent: Bool[np.ndarray, " frames"],
    scale: float,
    share: float = CLOSED_SHARE,
) -> float:
    """Share of the silent frames whose lips are closed, 0 to 1; NaN with fewer than five of them.

    Args:
        lips: lip opening of each frame, NaN where not seen.
        silent: frames in a pause.
        scale: opening of a wide vowel of the same person, as the 95th percentile of the ground truth's lips.
        share: lips are closed under this share of `scale`.
    """
    chosen = silent & np.isfinite(lips)
    if chosen.sum() < _FEWEST_FRAMES or not scale > 0:
        return float("nan")
    return float((lips[chosen] < share * scale).mean())


def motion_in_silence(
    lips: Float[np.ndarray, " frames"], silent: Bool[np.ndarray, " frames"], scale: float, fps: float
) -> float:
    """Mean speed of the lips in silence, wide vowels per second: their opening's change from frame to frame. NaN with
    fewer than five steps between silent frames.

    Args:
        lips, silent, scale: as of `closed_in_silence`.
        fps: frames per second.
    """
    steps = np.abs(np.diff(lips))[silent[1:] & silent[:-1]]
    steps = steps[np.isfinite(steps)]
    if len(steps) < _FEWEST_FRAMES or not scale > 0:
        return float("nan")
    return float(steps.mean() * fps / scale)


def lip_closures(
    gt_lips: Float[np.ndarray, " frames"], activity: Float[np.ndarray, " frames"], scale: float, fps: float
) -> list[tuple[int, int]]:
    """Where a speaker closes the lips within speech, as for /p/, /b/ and /m/: first and last frame of each closure.

    From the lips themselves: the times of words, let alone of their phones, that a recognizer gives are off by more
    than a closure is long.

    Args:
        gt_lips: lip opening of each frame of the recording, NaN where not seen.
        activity: from `speech_activity`.
        scale: as of `closed_in_silence`.
        fps: frames per second.
    """
    closed = np.concatenate([[False], gt_lips < CLOSED_SHARE * scale, [False]])
    edges = np.flatnonzero(np.diff(closed.astype(int)))
    found = []
    for start, stop in zip(edges[::2], edges[1::2]):
        around = activity[max(start - 1, 0) : stop + 1]
        if stop - start <= _LONGEST_CLOSURE * fps and (around >= 1).all():
            found.append((int(start), int(stop) - 1))
    return found


def closed_on_closures(
    lips: Float[np.ndarray, " frames"], closures: list[tuple[int, int]], scale: float, reach: int = 1
) -> float:
    """Share of the closures in which the lips close, too, 0 to 1; NaN for fewer than three.

    Args:
        lips: lip opening of each frame, NaN where not seen.
        closures: from `lip_closures`.
        scale: as of `closed_in_silence`.
        reach: frames by which the lips may be early or late.
    """
    if len(closures) < _FEWEST_CLOSURES:
        return float("nan")
    hits = [(lips[max(a - reach, 0) : b + reach + 1] < CLOSED_SHARE * scale).any() for a, b in closures]
    return float(np.mean(hits))
