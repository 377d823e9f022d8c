"""The registry of audio features, and Whisper's encoder."""

from __future__ import annotations

import importlib.machinery
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import SAMPLE

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.audio.features.kinds import whisper
from nerfstudio_talking.audio.features.registry import (
    best_feature_kind,
    feature_kinds,
    feature_name,
    find_computed_kind,
    find_feature_kind,
    kind_of_array,
)
from nerfstudio_talking.audio.streaming import AudioWindows
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import read_audio

pytest.importorskip("faster_whisper", reason="faster-whisper is not installed")
FOLDER = Path(os.environ.get(whisper.FOLDER_VARIABLE, "nowhere"))
needs_whisper = pytest.mark.skipif(
    not (FOLDER / whisper.WEIGHTS).is_file(), reason=f"{whisper.FOLDER_VARIABLE} names no folder with a Whisper model"
)


@pytest.fixture
def fake_whisper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder, and an engine that reads it: rows are every second frame of the log-mel spectrum, 512 channels."""

    class Model:
        n_mels = 80

        def __init__(self, folder: str, device: str, compute_type: str) -> None:
            if (Path(folder) / whisper.WEIGHTS).read_bytes() != b"weights":
                raise RuntimeError("Unsupported model binary version")

        def encode(self, features: np.ndarray, to_cpu: bool) -> np.ndarray:
            return np.pad(features, ((0, 0), (0, 432), (0, 0))).transpose(0, 2, 1)[:, ::2]

    module = types.ModuleType("ctranslate2")
    module.__spec__ = importlib.machinery.ModuleSpec("ctranslate2", None)
    module.get_cuda_device_count = lambda: 0  # type: ignore[attr-defined]
    module.StorageView = types.SimpleNamespace(from_array=lambda array: array)  # type: ignore[attr-defined]
    module.models = types.SimpleNamespace(Whisper=Model)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ctranslate2", module)
    (tmp_path / whisper.WEIGHTS).write_bytes(b"weights")
    monkeypatch.setenv(whisper.FOLDER_VARIABLE, str(tmp_path))
    whisper._load.cache_clear()
    whisper._channels.cache_clear()
    return tmp_path


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    samples = read_audio(SAMPLE / "other_voice.flac")[:48_123]
    return samples - samples.mean()


def test_every_kind_has_a_name_of_its_own() -> None:
    names = [kind.name for kind in feature_kinds()]
    assert len(set(names)) == len(names) and {"logmel", "mfcc", "hubert", "wav2vec2", "whisper-base"} <= set(names)
    for kind in feature_kinds():
        if not kind.takes_any_name:
            assert find_feature_kind(kind.name).name == feature_name(kind.spec) == kind.name
    assert kind_of_array(16, 80) == "logmel" and kind_of_array(1, 512) == "ave"
    assert kind_of_array(2, 768) == "array-2x768"  # ours are normalised: another program's are not the same


def test_the_best_kind_needs_no_download(monkeypatch: pytest.MonkeyPatch, fake_whisper: Path) -> None:
    assert best_feature_kind()[0].name == "whisper-base"
    monkeypatch.delenv(whisper.FOLDER_VARIABLE)
    monkeypatch.setattr("faster_whisper.utils.download_model", _offline)
    kind, reasons = best_feature_kind()
    assert kind.name == "logmel" and "142 MB" in reasons[0]
    with pytest.raises(TalkingError, match=r"Systran/faster-whisper-base \(142 MB\).*no network.*give its path"):
        extract_features(np.ones(16000), 25, 25, "whisper")


def test_whisper_by_folder(fake_whisper: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> None:
    monkeypatch.delenv(whisper.FOLDER_VARIABLE)
    kind = find_computed_kind(str(fake_whisper))
    assert kind.name == "whisper-base" and kind.spec == f"whisper-base@{fake_whisper}"
    assert find_feature_kind(kind.spec) == kind
    assert find_feature_kind("Systran/faster-whisper-small").name == "whisper-small"
    other = tmp_path_factory.mktemp("other")
    (other / whisper.WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(TalkingError, match=r"other0.*Unsupported model binary version"):
        find_feature_kind(str(other))


def test_whisper_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TalkingError, match=r"no ctranslate2.*nerfstudio-talking\[speech\]"):
        extract_features(np.ones(16000), 25, 25, "whisper")
    assert best_feature_kind()[0].name == "logmel"


def test_log_mel_is_that_of_faster_whisper(voice: np.ndarray) -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    extractor = FeatureExtractor()
    voice = voice * np.float32(1 / np.abs(voice).max())  # neither of the two floors anything
    ours, theirs = whisper.whisper_log_mel(voice), extractor(np.pad(voice, (0, 200)), padding=0)
    floor = max(ours.min(), theirs.min())
    # their frame k is centred on sample 160 k, ours on 160 k + 200
    np.testing.assert_allclose(
        whisper.whisper_log_mel(voice[120:])[:, :200].clip(floor), theirs[:, 2:202].clip(floor), atol=2e-3
    )


@pytest.mark.parametrize("cut", [400, 16_001])
def test_whisper_in_pieces_equals_the_whole(voice: np.ndarray, fake_whisper: Path, cut: int) -> None:
    _assert_streams(voice, cut)
    clicks = np.zeros(32_000, dtype=np.float32)
    clicks[[8000, 20_000]] = 0.5
    rows = find_computed_kind("whisper").extract(clicks)[0].mean(axis=1)
    assert set(np.flatnonzero(rows > rows.max() / 2)) >= {25, 62}  # row k shows second k/50
    assert np.flatnonzero(rows > 0.1 * rows.max()).tolist() == [25, 62, 63]


@needs_whisper
def test_real_whisper_in_pieces_equals_the_whole(voice: np.ndarray) -> None:
    features = _assert_streams(voice, 4321)
    assert features.shape[1:] == (4, 512)
    # rows are those of the whole signal at once, but for what lies beyond their two and a half seconds
    hidden = find_computed_kind("whisper").load().forward(voice[: 320 * 99 + 400] / voice.std())
    assert hidden.shape == (100, 512)


def _assert_streams(voice: np.ndarray, cut: int) -> np.ndarray:
    frames = round(len(voice) / 16000 * 25)
    whole = extract_features(voice, 25.0, frames, "whisper")
    assert whole.normalization is not None
    stream = AudioWindows("whisper", whole.normalization, 25.0, "clip", live=True)
    assert stream.look_ahead < 1.1
    pieces = [stream.push(voice[start : start + cut]) for start in range(0, len(voice), cut)]
    windows = np.concatenate([*pieces, stream.finish()])
    assert windows.shape == whole.windows.shape
    np.testing.assert_allclose(windows, whole.windows, atol=1e-3)
    return windows


def _offline(name: str, local_files_only: bool = False) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError

    raise LocalEntryNotFoundError("no network")
