from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.speech_models import FakeModel, fake_transformers

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.audio.features import pretrained
from nerfstudio_talking.audio.features.registry import find_computed_kind
from nerfstudio_talking.audio.features.spectral import log_mel, mfcc
from nerfstudio_talking.audio.windows import frame_windows
from nerfstudio_talking.io.errors import TalkingError

RATE = 16000


def voice(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise in bursts with pauses between them."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    return (random.standard_normal(len(time)) * np.clip(np.sin(2 * np.pi * 1.5 * time), 0, 1) * 0.1).astype(np.float32)


def test_log_mel_rate_and_statistics() -> None:
    stream = log_mel(voice(3.0))
    assert stream.shape == (301, 80) and stream.dtype == np.float32
    silent = np.all(stream == stream.min(axis=0), axis=1)
    assert 0.2 < silent.mean() < 0.6
    assert np.abs(stream[~silent].mean(axis=0)).max() < 0.5
    assert stream.min() > -8 and stream.max() < 6


def test_log_mel_does_not_depend_on_loudness() -> None:
    audio = voice(2.0)
    np.testing.assert_allclose(log_mel(0.01 * audio), log_mel(audio), atol=1e-3)


def test_log_mel_does_not_depend_on_pauses() -> None:
    audio = voice(2.0)
    longer = np.concatenate([audio, np.zeros(4 * RATE, dtype=np.float32)])
    np.testing.assert_allclose(log_mel(longer)[:190], log_mel(audio)[:190], atol=0.15)


def test_log_mel_finds_the_band_and_the_moment() -> None:
    time = np.arange(2 * RATE) / RATE
    low, high = np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 3000 * time)
    stream = log_mel(np.where(time < 1, low, high).astype(np.float32))
    import librosa

    centres = librosa.mel_frequencies(n_mels=82, fmin=50, fmax=8000)[1:-1]
    low_band, high_band = np.argmin(np.abs(centres - 300)), np.argmin(np.abs(centres - 3000))
    assert stream[20:95, low_band].min() > stream[105:180, low_band].max()
    assert stream[105:180, high_band].min() > stream[20:95, high_band].max()
    change = np.argmax(np.abs(np.diff(stream[:, high_band])))
    assert abs(change - 100) <= 2  # second 1 is row 100


def test_log_mel_of_another_rate_is_about_the_same() -> None:
    from scipy.signal import resample_poly

    audio = voice(2.0)
    other = log_mel(resample_poly(audio, 3, 1).astype(np.float32), 3 * RATE)
    stream = log_mel(audio)
    assert other.shape == stream.shape
    assert np.corrcoef(other[:, :70].ravel(), stream[:, :70].ravel())[0, 1] > 0.95


def test_silence_is_zero_and_no_audio_an_error() -> None:
    assert not log_mel(np.zeros(RATE)).any()
    with pytest.raises(ValueError):
        log_mel(np.zeros(0))


def test_mfcc_shapes() -> None:
    assert mfcc(voice(1.0)).shape == (101, 13)
    stream = mfcc(voice(1.0), deltas=True)
    assert stream.shape == (101, 39) and np.isfinite(stream).all()
    assert mfcc(voice(0.03), deltas=True).shape == (4, 39)


def test_windows_sit_on_the_middle_of_frames() -> None:
    seconds = np.arange(400)[:, None] / 100.0  # every row holds its own time
    windows = frame_windows(seconds, 100, 25, 50)
    assert windows.shape == (50, 16, 1)
    np.testing.assert_allclose(windows[10:40].mean(axis=(1, 2)), (np.arange(10, 40) + 0.5) / 25, atol=1e-6)
    np.testing.assert_allclose(np.diff(windows[20, :, 0]), 1 / 50, atol=1e-6)
    ntsc = frame_windows(seconds, 100, 30000 / 1001, 60, window=1)
    np.testing.assert_allclose(ntsc[:, 0, 0], (np.arange(60) + 0.5) * 1001 / 30000, atol=1e-6)
    moved = frame_windows(seconds, 100, 25, 20, first=30, start=1.0)
    np.testing.assert_allclose(moved, windows[30:50] - 1.0, atol=1e-6)


def test_windows_at_the_ends() -> None:
    stream = np.arange(1.0, 101.0)[:, None]
    held = frame_windows(stream, 100, 25, 30)
    assert held[0, 0, 0] == 1 and held[-1, -1, 0] == 100
    padded = frame_windows(stream, 100, 25, 30, silence=np.array([-5.0]))
    assert padded[0, 0, 0] == -5 and padded[-1, -1, 0] == -5
    np.testing.assert_array_equal(padded[5:20], held[5:20])


@pytest.mark.parametrize("kind, channels", [("logmel", 80), ("mfcc", 39)])
@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_extracted_features(kind: str, channels: int, fps: float) -> None:
    audio = voice(2.0)
    features = extract_features(audio, fps, round(2 * fps), kind)
    assert features.windows.shape == (round(2 * fps), 16, channels) and features.windows.dtype == np.float32
    assert features.kind == kind
    assert np.isfinite(features.windows).all()


def test_features_beyond_the_audio_are_silence() -> None:
    features = extract_features(voice(1.0), 25, 50).windows
    quiet = features[-1, -1]
    np.testing.assert_allclose(features[40:], np.broadcast_to(quiet, (10, 16, 80)), atol=1e-6)
    np.testing.assert_allclose(features[0, 0], quiet, atol=1e-6)
    assert (quiet <= features.min(axis=(0, 1)) + 1e-6).all()


def test_extracted_windows_are_in_time() -> None:
    audio = np.zeros(4 * RATE, dtype=np.float32)
    audio[RATE * 2 : RATE * 2 + 160] = voice(1.0, seed=3)[2000:2160]  # a click at second 2
    features = extract_features(audio, 25, 100).windows
    loud = features.mean(axis=2)
    frame, row = np.unravel_index(np.argmax(loud), loud.shape)
    assert (frame + 0.5) / 25 + (row - 7.5) / 50 == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize(
    "shape, kind",
    [((20, 16, 29), "deepspeech"), ((20, 16, 44), "esperanto"), ((20, 2, 1024), "hubert-array"), ((20, 512), "ave"),
     ((20, 29, 16), "deepspeech"), ((20, 5, 7), "array-5x7")],
)  # fmt: skip
def test_ready_arrays(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    path = tmp_path / "feature array.npy"
    array = np.random.default_rng(0).standard_normal(shape)
    np.save(path, array)
    features = extract_features(np.zeros(0), 25, 20, str(path))
    assert features.kind == kind and features.windows.ndim == 3 and features.windows.dtype == np.float32
    assert features.normalization is None
    np.testing.assert_allclose(np.sort(features.windows, axis=None), np.sort(array.astype(np.float32), axis=None))


def test_kinds_that_cannot_be_computed() -> None:
    with pytest.raises(TalkingError, match="made by other programs"):
        extract_features(voice(1.0), 25, 25, "deepspeech")
    with pytest.raises(TalkingError, match="logmel, mfcc, wav2vec2, whisper-tiny"):
        extract_features(voice(1.0), 25, 25, "nonsense")
    with pytest.raises(TalkingError, match="zero samples"):
        extract_features(np.zeros(0), 25, 25)


def test_speech_models_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TalkingError, match=r"nerfstudio-talking\[speech\]"):
        extract_features(voice(1.0), 25, 25, "hubert")


def test_speech_model_rows_are_in_time_and_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    fake_transformers(monkeypatch, lambda name: asked.append(name) or FakeModel())
    audio = np.zeros(RATE * 45, dtype=np.float32)  # more than two chunks of 20 s
    clicks = [3.0, 19.99, 20.01, 41.5]
    for second in clicks:
        audio[round(second * RATE) - 20 : round(second * RATE) + 20] = 0.5
    stream, normalization = find_computed_kind("hubert").extract(audio)
    assert asked == ["facebook/hubert-base-ls960"] and stream.shape == (45 * 50, 2)
    np.testing.assert_allclose(stream.mean(axis=0), 0, atol=1e-3)
    found = np.flatnonzero(stream[:, 0] > 5)
    apart = np.abs(found[:, None] / 50 - np.array(clicks))
    assert apart.min(axis=1).max() <= 0.0135  # nothing but clicks: half a field of 25 ms
    assert apart.min(axis=0).max() <= 0.0105  # every click: half a row
    assert normalization.mean.shape == (2,)
    features = extract_features(audio, 25, 45 * 25, "hubert")
    assert features.windows.shape == (45 * 25, 2, 2) and features.kind == "hubert"


def test_speech_model_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise OSError("We couldn't connect to 'https://huggingface.co'")

    fake_transformers(monkeypatch, offline)
    with pytest.raises(TalkingError, match=r"facebook/wav2vec2-base-960h \(378 MB\).*couldn't connect.*give its path"):
        extract_features(voice(1.0), 25, 25, "wav2vec2")
