"""Audio that arrives piece by piece gives the features of the whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from helpers.paths import SAMPLE
from helpers.speech_models import FakeModel, fake_transformers

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.audio.features.registry import find_computed_kind
from nerfstudio_talking.audio.features.spectral import log_mel, mfcc, spectral_features
from nerfstudio_talking.audio.features.speech_rows import SpeechEncoder, SpeechModelRows
from nerfstudio_talking.audio.features.streams import SpectralStream
from nerfstudio_talking.audio.streaming import AudioWindows, as_samples
from nerfstudio_talking.audio.windows import WindowStream, frame_windows
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import read_audio

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    samples = read_audio(SAMPLE / "other_voice.flac")[:64_123]
    return samples - samples.mean()


def random_pieces(samples: np.ndarray, seed: int = 0) -> Iterator[np.ndarray]:
    """From one sample to two seconds."""
    rng = np.random.default_rng(seed)
    start = 0
    while start < len(samples):
        count = int(rng.choice([0, 1, 2, 7, 159, 160, 161, 511, 512, 4000, 32_000]))
        yield samples[start : start + count]
        start += count


def windows_of(stream: AudioWindows, pieces: Iterator[np.ndarray] | list[np.ndarray]) -> np.ndarray:
    windows = [stream.push(piece) for piece in pieces]
    return np.concatenate([*windows, stream.finish()])


@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
def test_rows_are_those_of_the_whole_signal(voice, kind):
    whole, normalization = spectral_features(voice, kind)
    stream = SpectralStream(kind, normalization, "clip")
    rows = np.concatenate([*map(stream.push, random_pieces(voice)), stream.finish()])
    assert rows.shape == whole.shape
    np.testing.assert_allclose(rows, whole, atol=TOLERANCE)
    np.testing.assert_array_equal(whole, log_mel(voice) if kind == "logmel" else mfcc(voice, deltas=True))


@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
@pytest.mark.parametrize("fps", [25.0, 30000 / 1001, 60.0, 2.0])
def test_windows_are_those_of_processing(voice, kind, fps):
    num_frames = round(len(voice) / 16000 * fps)
    whole = extract_features(voice, fps, num_frames, kind)
    assert whole.normalization is not None
    windows = windows_of(AudioWindows(kind, whole.normalization, fps, "clip"), random_pieces(voice))
    assert windows.shape == whole.windows.shape
    np.testing.assert_allclose(windows, whole.windows, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
@pytest.mark.parametrize("mode", ["adapt", "clip"])
def test_the_cut_makes_no_difference(voice, kind, mode):
    quiet = 0.1 * voice
    normalization = extract_features(read_audio(SAMPLE / "voice.flac"), 25.0, 250, kind).normalization
    assert normalization is not None
    at_once = windows_of(AudioWindows(kind, normalization, 25.0, mode), [quiet])
    for seed in range(3):
        windows = windows_of(AudioWindows(kind, normalization, 25.0, mode), random_pieces(quiet, seed))
        np.testing.assert_allclose(windows, at_once, atol=1e-5)


@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
def test_look_ahead_is_enough_and_not_much_more_than_needed(voice, kind):
    normalization = spectral_features(voice, kind)[1]
    stream = AudioWindows(kind, normalization, 25.0)
    assert stream.look_ahead < 0.25
    done = 0
    for index, sample in enumerate(np.array_split(voice[:16000], 1000)):
        done += len(stream.push(sample))
        heard = (index + 1) * 16 / 16000
        due = [frame for frame in range(30) if frame / 25 + stream.look_ahead <= heard]
        assert len(due) <= done <= len(due) + 1


def test_another_voices_level_is_matched():
    """The clip's own voice 20 dB quieter: adapted, the windows are soon what they were; else they are not."""
    clip = read_audio(SAMPLE / "voice.flac")
    whole = extract_features(clip, 25.0, 250)
    assert whole.normalization is not None

    def agreement(mode):
        windows = windows_of(AudioWindows("logmel", whole.normalization, 25.0, mode), [0.1 * clip])
        return np.corrcoef(windows[25:].ravel(), whole.windows[25:].ravel())[0, 1]

    assert agreement("adapt") > 0.97
    assert agreement("clip") < 0.9


def test_memory_does_not_grow_with_the_audio(voice):
    normalization = spectral_features(voice, "mfcc")[1]
    stream = AudioWindows("mfcc", normalization, 25.0)

    def peak(pieces: int) -> int:
        tracemalloc.start()
        for _ in range(pieces):
            stream.push(voice[:16000])
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    assert peak(20) < 1.2 * peak(2)


def test_speech_model_rows_do_not_depend_on_the_cut(voice, monkeypatch):
    fake_transformers(monkeypatch, lambda name: FakeModel())
    whole, normalization = find_computed_kind("hubert").extract(voice)
    for live in (True, False):
        for mode in ("clip", "adapt"):
            streams = [find_computed_kind("hubert").stream(normalization, mode, live) for _ in range(2)]
            at_once = np.concatenate([streams[0].push(voice), streams[0].finish()])
            rows = np.concatenate([*map(streams[1].push, random_pieces(voice)), streams[1].finish()])
            assert at_once.shape == whole.shape
            np.testing.assert_allclose(rows, at_once, atol=TOLERANCE)
            if mode == "clip":  # this model attends to nothing further than a second: blocks make no difference
                np.testing.assert_allclose(rows, whole, atol=0.02)  # the mean of the waveform is a running one


def test_speech_model_windows_and_level(voice, monkeypatch):
    fake_transformers(monkeypatch, lambda name: FakeModel())
    frames = round(len(voice) / 16000 * 25)
    whole = extract_features(voice, 25.0, frames, "hubert")
    assert whole.normalization is not None
    windows = windows_of(AudioWindows("hubert", whole.normalization, 25.0, "clip"), random_pieces(voice))
    assert windows.shape == whole.windows.shape
    np.testing.assert_allclose(windows, whole.windows, atol=0.02)
    adapted = windows_of(AudioWindows("hubert", whole.normalization, 25.0, "adapt"), [0.1 * voice])
    assert np.corrcoef(adapted[50:].ravel(), whole.windows[50:].ravel())[0, 1] > 0.97
    stream = AudioWindows("hubert", whole.normalization, 25.0)
    assert 1.5 < stream.look_ahead < 1.7
    stream.push(voice[: round((2 / 25 + stream.look_ahead) * 16000) + 1])
    assert stream._windows.num_frames >= 3


def test_speech_model_memory_is_bounded(voice):
    rows = SpeechModelRows(SpeechEncoder(lambda audio: np.zeros((len(audio) // 320, 2), np.float32)), live=True)
    for _ in range(20):
        for _ in rows.push(voice[:16000]):
            pass
    assert len(rows._audio) < 4 * 16000


def test_window_stream_equals_frame_windows_at_the_ends():
    rows = np.random.default_rng(0).standard_normal((97, 3)).astype(np.float32)
    for fps, start in ((25.0, -0.32), (23.976, 0.0), (50.0, -0.1)):
        expected = frame_windows(rows, 100, fps, 30, start=start)
        stream = WindowStream(100, fps, start=start)
        windows = [stream.push(piece) for piece in np.array_split(rows, 13)]
        np.testing.assert_array_equal(np.concatenate([*windows, stream.finish(30)])[:30], expected)


@pytest.mark.usefixtures("unchecked_shapes")
def test_samples_of_either_type():
    values = np.array([0, 16384, -32768], dtype=np.int16)
    np.testing.assert_allclose(as_samples(values), [0, 0.5, -1])
    assert as_samples(np.zeros(3)).dtype == np.float32
    for bad in (np.zeros((2, 2)), np.zeros(3, np.int32), np.array([np.nan])):
        with pytest.raises(TalkingError, match="the samples"):
            as_samples(bad)  # type: ignore[arg-type]


def test_kinds_made_by_other_programs_cannot_be_streamed(voice):
    normalization = spectral_features(voice, "logmel")[1]
    with pytest.raises(TalkingError, match="made by other programs"):
        AudioWindows("deepspeech", normalization, 25.0)


def test_no_audio_at_all(voice):
    normalization = spectral_features(voice, "logmel")[1]
    stream = AudioWindows("logmel", normalization, 25.0)
    assert len(stream.push(np.zeros(0, np.float32))) == 0
    assert len(stream.finish()) == stream.num_frames == 0
