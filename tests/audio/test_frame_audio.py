"""Audio cut out of a recording by the frames that a video shows."""

from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.audio.frame_audio import audio_of_frames, contiguous_runs, cut_audio, why_silent

RATE = 16000


def test_audio_is_cut_and_padded():
    samples = np.arange(10, dtype=np.float32)
    np.testing.assert_array_equal(cut_audio(samples, 0.2, 0.3, rate=10), [2, 3, 4])
    np.testing.assert_array_equal(cut_audio(samples, -0.2, 0.4, rate=10), [0, 0, 0, 1])
    np.testing.assert_array_equal(cut_audio(samples, 0.8, 0.4, rate=10), [8, 9, 0, 0])


def beeps(seconds: int) -> np.ndarray:
    """10 ms of a tone at every whole second."""
    time = np.arange(seconds * RATE) / RATE
    return np.where(time % 1 < 0.01, np.sin(2 * np.pi * 1000 * time), 0).astype(np.float32)


def onsets(samples: np.ndarray) -> np.ndarray:
    """Seconds at which a tone starts."""
    loud = np.flatnonzero(np.abs(samples) > 0.2) / RATE
    return loud[np.diff(loud, prepend=-1) > 0.1]


def test_a_hole_in_the_frames_is_a_hole_in_the_audio():
    ids = np.array([*range(10, 60), *range(110, 150)])
    audio = audio_of_frames(beeps(7), ids / 25, 25.0)
    assert len(audio) == round(90 / 25 * RATE)
    np.testing.assert_allclose(onsets(audio), [0.6, 1.6, 2.6], atol=0.002)  # at 1 and 2 s, and at 5 s of the recording
    stereo = audio_of_frames(np.stack([beeps(7), 0 * beeps(7)], axis=1), ids / 25, 25.0)
    np.testing.assert_array_equal(stereo[:, 0], audio)


def test_whole_clips_are_cut_exactly():
    samples = np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    np.testing.assert_array_equal(audio_of_frames(samples, np.arange(10, 110) / 25, 25.0), samples[6400:70400])


def test_joins_do_not_click():
    time = np.arange(4 * RATE) / RATE
    tone = np.sin(2 * np.pi * 100 * time).astype(np.float32)
    audio = audio_of_frames(tone, np.array([*range(25), *range(31, 56)]) / 24.3, 24.3)
    assert np.abs(np.diff(audio)).max() < 2 * np.abs(np.diff(tone)).max()


def test_runs_bear_rounded_times():
    shown = np.floor(np.arange(60) * 25 / 30) / 25  # a clip of 25 frames per second shown at 30
    assert contiguous_runs(shown, 30.0) == [(0, 60)] or len(contiguous_runs(shown, 30.0)) < 60
    assert contiguous_runs(np.array([0, 1, 2, 7, 8]) / 25, 25.0) == [(0, 3), (3, 5)]


@pytest.mark.parametrize(
    ("seconds", "fps", "reason"),
    [
        (np.arange(50) / 25, 25.0, None),
        (np.arange(50) / 30, 30.0, None),
        (np.array([*range(30), *range(80, 110)]) / 25, 25.0, None),
        (np.full(10, 0.5), 30.0, "one moment"),
        (np.arange(50)[::-1] / 25, 25.0, "backwards"),
        (np.arange(50) / 25, 50.0, "2 times its speed"),
        (np.arange(50) / 100, 25.0, "0.25 times its speed"),
        (np.array([0, 1, 2, 40, 41, 42, 10, 11, 12, 90]) / 25, 25.0, "jumps about in the clip, 3 times"),
    ],
)
def test_videos_that_play_the_clip_otherwise_have_no_audio(seconds, fps, reason):
    found = why_silent(seconds, fps)
    assert found is None if reason is None else reason in found
