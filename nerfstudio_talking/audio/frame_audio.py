"""The audio of a video's frames, cut out of the recording: whatever frames the video leaves out or plays again."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

_FADE = 0.004
"""Seconds over which two pieces of audio are crossfaded where frames are missing between them."""
_TOLERANCE = 0.5
"""Frames by which audio and image may differ before the audio is cut anew."""
_SHORTEST_RUN = 1.0
"""Seconds that a video plays at the clip's own speed, on average, for its audio to be worth hearing."""


def cut_audio(
    samples: Float[np.ndarray, "samples ..."], start: float, seconds: float, rate: int = 16000
) -> Float32[np.ndarray, "cut ..."]:
    """The audio from `start` (seconds, may be negative) for `seconds`, silence where there is none."""
    first, count = round(start * rate), round(seconds * rate)
    cut = np.zeros((count, *samples.shape[1:]), dtype=np.float32)
    a, b = max(first, 0), min(first + count, len(samples))
    if b > a:
        cut[a - first : b - first] = samples[a:b]
    return cut


def audio_of_frames(
    samples: Float[np.ndarray, "samples ..."], starts: Float[np.ndarray, " frames"], fps: float, rate: int = 16000
) -> Float32[np.ndarray, "cut ..."]:
    """The audio of a video whose frames show the given seconds of a recording: pieces of it, joined.

    Args:
        samples: the recording.
        starts: second of the recording at which the audio of each frame of the video starts; consecutive frames that
            are 1/fps apart share one piece.
        fps: frames per second of the video.
        rate: samples per second.

    Returns:
        Audio as long as the video.
    """
    audio = np.zeros((round(len(starts) / fps * rate), *samples.shape[1:]), dtype=np.float32)
    fade = round(min(_FADE, 0.5 / fps) * rate)
    for first, last in contiguous_runs(starts, fps):
        begin, end = round(first / fps * rate), round(last / fps * rate)
        lead, tail = min(fade, begin), min(fade, len(audio) - end)  # neighbours overlap, except at the video's ends
        count = end - begin + lead + tail
        weight = np.ones(count, dtype=np.float32)
        weight[: 2 * lead] *= np.linspace(0, 1, 2 * lead, dtype=np.float32)
        weight[count - 2 * tail :] *= np.linspace(1, 0, 2 * tail, dtype=np.float32)
        piece = cut_audio(samples, starts[first] - lead / rate, count / rate, rate)
        audio[begin - lead : end + tail] += piece * weight.reshape(-1, *[1] * (samples.ndim - 1))
    return audio


def contiguous_runs(starts: Float[np.ndarray, " frames"], fps: float) -> list[tuple[int, int]]:
    """Ranges [a, b) of a video's frames in which its recording runs on at its own speed.

    Args:
        starts: second of the recording that each frame shows.
        fps: frames per second of the video.
    """
    lead = np.asarray(starts, dtype=np.float64) - np.arange(len(starts)) / fps
    edges, held = [0], 0
    for frame in range(1, len(lead)):
        if abs(lead[frame] - lead[held]) > _TOLERANCE / fps:
            edges.append(frame)
            held = frame
    return list(zip(edges, [*edges[1:], len(lead)]))


def why_silent(seconds: Float[np.ndarray, " frames"], fps: float) -> str | None:
    """Why a video that shows these seconds of a clip has no audio: it plays the clip backwards, faster, slower or not
    at all. None where it plays at the clip's own speed, in pieces of a second or more on average.

    Args:
        seconds: second of the clip that each frame shows, not counting frames that the clip itself leaves out.
        fps: frames per second of the video.
    """
    if len(seconds) < 2:
        return None
    runs = contiguous_runs(seconds, fps)
    if len(runs) == 1 or len(seconds) / fps >= _SHORTEST_RUN * len(runs):
        return None
    speed = float(np.median(np.diff(seconds)) * fps)
    if np.ptp(seconds) < 1e-6:
        return "it shows one moment of the clip throughout"
    if speed < 0:
        return "it plays the clip backwards"
    if abs(speed - 1) < 0.05:
        return f"it jumps about in the clip, {len(runs) - 1} times in {len(seconds) / fps:.1f} s"
    return f"it plays the clip at {speed:.2g} times its speed"
