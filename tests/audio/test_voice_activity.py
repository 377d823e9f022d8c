"""Voice activity: speech, silence, breath and noise."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.paths import SAMPLE
from scipy.signal import butter, lfilter

from nerfstudio_talking.audio.voice_activity import LOOK_AHEAD, VoiceActivityStream, periodicity, voice_activity
from nerfstudio_talking.media.reading import read_audio

FPS = 25.0


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return read_audio(SAMPLE / "other_voice.flac")[:64_000]


def vowel(seconds: float, pitch: float = 120.0) -> np.ndarray:
    time = np.arange(round(seconds * 16000)) / 16000
    return (0.05 * sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 20))).astype(np.float32)


def breath(seconds: float, level: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(round(seconds * 16000))
    shaped = lfilter(*butter(2, [300 / 8000, 4000 / 8000], "band"), noise) * np.hanning(len(noise))
    return (level * shaped / np.abs(shaped).max()).astype(np.float32)


def test_periodicity_of_a_voice_and_of_noise():
    assert periodicity(vowel(0.1)) > 0.95 and periodicity(vowel(0.1, pitch=300.0)) > 0.95
    assert periodicity(np.random.default_rng(0).standard_normal(1000).astype(np.float32)) < 0.4
    assert periodicity(np.zeros(1000, np.float32)) == 0


@pytest.mark.parametrize("noise", [0.0, 1e-4, 2e-3])
def test_the_mouth_rests_within_a_tenth_of_a_second(noise):
    """Two words of 0.6 s at 0.5 and 2.5 s: speech from 0.5 s to 1.1 s, and so on."""
    gap = np.zeros(8000, np.float32)
    audio = np.concatenate([gap, vowel(0.6), gap, gap, np.zeros(6400, np.float32), vowel(0.6), gap])
    audio += noise * np.random.default_rng(1).standard_normal(len(audio)).astype(np.float32)
    activity = voice_activity(audio, 100.0, len(audio) // 160)
    times = (np.arange(len(activity)) + 0.5) / 100
    for start, stop in ((0.5, 1.1), (2.5, 3.1)):
        assert (activity[(times > start + 0.03) & (times < stop - 0.03)] == 1).all()
    silent = (times < 0.37) | ((times > 1.2) & (times < 2.37)) | (times > 3.2)
    assert (activity[silent] == 0).all()


def test_noise_and_breath_do_not_open_the_lips(voice):
    """Breath a tenth as loud as the voice, and noise half as loud as it."""
    peak = float(np.abs(voice).max())
    pause = 1e-4 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    for sound in (breath(0.6, 0.1 * peak), breath(1.0, 0.3 * peak), 0.1 * peak * np.ones(8000, np.float32)):
        audio = np.concatenate([voice, pause, sound, pause, voice])
        start = (len(voice) + len(pause)) / 16000
        activity = voice_activity(audio, FPS, round(len(audio) / 640))
        times = (np.arange(len(activity)) + 0.5) / FPS
        assert (activity[(times > start - 0.5) & (times < start + len(sound) / 16000 + 0.5)] == 0).all()
        assert activity[: len(voice) // 640].mean() > 0.5
    noise = np.random.default_rng(2).standard_normal(48_000).astype(np.float32)
    for level in (1e-3, 0.05, 0.3):
        assert (voice_activity(level * noise, FPS, 75) == 0).all()


def test_a_stop_within_a_word_does_not_close_the_mouth():
    stop = np.zeros(1280, np.float32)  # 80 ms
    audio = np.concatenate([np.zeros(8000, np.float32), vowel(0.3), stop, vowel(0.3), np.zeros(8000, np.float32)])
    activity = voice_activity(audio, FPS, round(len(audio) / 640))
    assert (activity[14:28] == 1).all()


@pytest.mark.parametrize("fps", [25.0, 30000 / 1001, 60.0])
def test_the_cut_makes_no_difference(voice, fps):
    whole = voice_activity(voice, fps, round(len(voice) / 16000 * fps))
    assert set(np.unique(np.round(whole))) == {0.0, 1.0}
    for seed in range(2):
        rng, stream, start, pieces = np.random.default_rng(seed), VoiceActivityStream(fps), 0, []
        while start < len(voice):
            count = int(rng.choice([1, 159, 160, 747, 4000, 16_000]))
            pieces.append(stream.push(voice[start : start + count]))
            start += count
            pushed = min(start, len(voice)) / 16000
            assert (stream.num_frames + 0.5) / fps >= pushed - LOOK_AHEAD - 1e-6 or stream.num_frames == 0
        np.testing.assert_array_equal(np.concatenate([*pieces, stream.finish(len(whole))]), whole)


def test_it_follows_a_detector_that_shares_no_code(voice):
    """Silero's network, which faster-whisper brings, on the same voice; transitions of a frame or two aside."""
    vad = pytest.importorskip("faster_whisper.vad", reason="faster-whisper is not installed")
    probability = np.asarray(vad.get_vad_model()(voice)).ravel()
    frames = round(len(voice) / 640)
    theirs = np.interp((np.arange(frames) + 0.5) / FPS, (np.arange(len(probability)) + 0.5) * 512 / 16000, probability)
    assert np.mean((voice_activity(voice, FPS, frames) > 0.5) == (theirs > 0.5)) > 0.85


def hum(seconds: float, frequency: float, level: float) -> np.ndarray:
    """A tone of mains with its harmonics; `level` in dB of full scale (RMS)."""
    time = np.arange(round(seconds * 16000)) / 16000
    tone = sum(np.sin(2 * np.pi * frequency * k * time + k) / k for k in range(1, 8))
    return (10 ** (level / 20) * tone / np.sqrt(np.mean(tone**2))).astype(np.float32)


@pytest.mark.parametrize("gap", [0.0, 0.2, 1.0, 3.0])
def test_a_hum_does_not_open_the_lips_after_a_muted_microphone(voice, gap):
    """Digital zeros say nothing of a room's noise."""
    muted, tone = np.zeros(round(16000 * gap), np.float32), hum(6, 100, -45)
    assert (voice_activity(np.concatenate([muted, tone]), FPS, round(25 * (gap + 6))) == 0).all()
    spoken = np.concatenate([voice + hum(4, 100, -45), muted, tone])
    activity = voice_activity(spoken, FPS, round(len(spoken) / 640))
    assert (activity[-5 * 25 :] == 0).all() and activity[:100].mean() > 0.5


def test_a_gated_voice_is_heard_as_without_the_gate(voice):
    """Pauses of digital silence, as of a noise gate or of synthetic speech, do not shut the mouth in speech."""
    gated = np.tile(np.where(np.repeat(voice_activity(voice, FPS, 100) > 0, 640), voice, 0).astype(np.float32), 5)
    hiss = gated + 2e-5 * np.random.default_rng(0).standard_normal(len(gated)).astype(np.float32)
    muted, heard = (voice_activity(sound, FPS, round(len(gated) / 640)) > 0.5 for sound in (gated, hiss))
    assert (muted & heard).sum() > 0.97 * heard.sum()


def test_what_a_room_sounds_like_is_not_speech_from_the_start(voice):
    """A tonal room before the first word, after the padding of a codec; the word opens the lips as without it."""
    first = int(np.argmax(voice_activity(voice, FPS, 100) == 1))
    room = np.concatenate([np.zeros(8000, np.float32), voice])
    room[960:] += hum(4.5, 120, -42)[960 : len(room)]
    activity = voice_activity(room, FPS, round(len(room) / 640))
    opened = int(np.argmax(activity == 1))
    assert abs(opened - (first + 12.5)) <= 2.5


def test_knocks_are_not_speech():
    audio = 1e-4 * np.random.default_rng(0).standard_normal(80_000).astype(np.float32)
    time = np.arange(2400) / 16000
    for start in range(8000, 70_000, 9600):
        audio[start : start + 2400] += (0.3 * np.exp(-time / 0.03) * np.sin(2 * np.pi * 110 * time)).astype(np.float32)
    assert (voice_activity(audio, FPS, 125) == 0).all()
