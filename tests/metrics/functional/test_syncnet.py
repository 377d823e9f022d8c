from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.voices import FPS, speech
from scipy.fftpack import dct

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.metrics.functional import syncnet


def mfcc_by_hand(samples: np.ndarray) -> np.ndarray:
    """python_speech_features.mfcc at its defaults, as its documentation describes it, one window at a time."""
    signal = np.round(samples.astype(float) * 32767)
    signal = np.append(signal[0], signal[1:] - 0.97 * signal[:-1])
    rows = 1 + int(np.ceil((len(signal) - 400) / 160))
    signal = np.append(signal, np.zeros((rows - 1) * 160 + 400 - len(signal)))
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    edges = np.floor(513 * 700 * (10 ** (mel / 2595) - 1) / 16000).astype(int)
    out = np.zeros((rows, 13))
    for row in range(rows):
        power = np.abs(np.fft.fft(signal[row * 160 : row * 160 + 400], 512)[:257]) ** 2 / 512
        bands = np.zeros(26)
        for j in range(26):
            for i in range(edges[j], edges[j + 1]):
                bands[j] += power[i] * (i - edges[j]) / (edges[j + 1] - edges[j])
            for i in range(edges[j + 1], edges[j + 2]):
                bands[j] += power[i] * (edges[j + 2] - i) / (edges[j + 2] - edges[j + 1])
        bands[bands == 0] = np.finfo(float).eps
        cepstrum = dct(np.log(bands), type=2, norm="ortho")[:13]
        out[row] = cepstrum * (1 + 11 * np.sin(np.pi * np.arange(13) / 22))
        out[row, 0] = np.log(power.sum())
    return out


def test_mfcc_of_syncnet() -> None:
    samples = speech(0.5, seed=8)[1][:7777]
    np.testing.assert_allclose(syncnet.syncnet_mfcc(samples), mfcc_by_hand(samples), atol=1e-4)


def test_syncnet_has_the_layers_of_its_weights(tmp_path: Path) -> None:
    network = syncnet.SyncNet()
    state = network.state_dict()
    published = {  # shapes in syncnet_v2.model
        "netcnnaud.0.weight": (64, 1, 3, 3),
        "netcnnaud.4.weight": (192, 64, 3, 3),
        "netcnnaud.8.weight": (384, 192, 3, 3),
        "netcnnaud.11.weight": (256, 384, 3, 3),
        "netcnnaud.14.weight": (256, 256, 3, 3),
        "netcnnaud.18.weight": (512, 256, 5, 4),
        "netcnnaud.19.running_var": (512,),
        "netfcaud.0.weight": (512, 512),
        "netfcaud.1.running_mean": (512,),
        "netfcaud.3.weight": (1024, 512),
        "netfclip.3.bias": (1024,),
        "netcnnlip.0.weight": (96, 3, 5, 7, 7),
        "netcnnlip.4.weight": (256, 96, 1, 5, 5),
        "netcnnlip.8.weight": (256, 256, 1, 3, 3),
        "netcnnlip.11.weight": (256, 256, 1, 3, 3),
        "netcnnlip.14.weight": (256, 256, 1, 3, 3),
        "netcnnlip.18.weight": (512, 256, 1, 6, 6),
        "netcnnlip.19.weight": (512,),
    }
    assert {name: tuple(state[name].shape) for name in published} == published
    path = tmp_path / "syncnet_v2.model"
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    loaded = syncnet.load_syncnet(path)
    assert torch.equal(loaded.netfclip[3].weight, network.netfclip[3].weight) and not loaded.training  # type: ignore[arg-type]
    crops = np.random.default_rng(0).integers(0, 255, (14, 224, 224, 3)).astype(np.uint8)
    score = syncnet.syncnet_score(crops, speech(0.56, seed=8)[1], FPS, loaded)
    assert np.isfinite(score.distance) and score.confidence >= 0
    assert np.isnan(syncnet.syncnet_score(crops[:8], speech(0.56, seed=8)[1], FPS, loaded).distance)
    torch.save({"netfcaud.0.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(TalkingError, match="netcnnaud"):
        syncnet.load_syncnet(path)
    with pytest.raises(TalkingError, match="no such file"):
        syncnet.load_syncnet(tmp_path / "absent.model")


@pytest.mark.parametrize("lag", [-6, 0, 9])
def test_lag_and_confidence_from_features(lag: int) -> None:
    audio = torch.randn(80, 32, generator=torch.Generator().manual_seed(0))
    lips = torch.roll(audio, -lag, 0)  # lips of frame i go with the audio of frame i + lag: late by lag
    score = syncnet.sync_from_features(lips, audio)
    distances = torch.cdist(lips, audio)
    chance = float(distances.mean())
    assert score.lag == lag
    assert score.confidence > 0.5 * chance and score.distance < 0.3 * chance
    unrelated = syncnet.sync_from_features(torch.randn(80, 32, generator=torch.Generator().manual_seed(1)), audio)
    assert unrelated.confidence < 0.3 * score.confidence


def test_face_crops_hold_the_face() -> None:
    frame = np.full((300, 300, 3), 50, np.uint8)
    points = np.random.default_rng(0).uniform(100, 200, (478, 2))
    points[[0, 1]] = (100, 100), (200, 200)
    frame[100:200, 100:200] = 200
    crops = syncnet.face_crops([frame] * 3, np.stack([points, points * np.nan, points]))
    bright = (crops > 125).all(-1)
    assert (bright[0] == bright[1]).all()  # the face that was not found is where its neighbours are
    rows, columns = np.nonzero(bright[0])
    side = 224 / 1.4  # the face is 1 / 1.4 of the crop, at its top and its middle
    assert np.ptp(rows) == pytest.approx(side, abs=3) and np.ptp(columns) == pytest.approx(side, abs=3)
    assert rows.min() <= 1 and columns.min() == pytest.approx((224 - side) / 2, abs=2)
