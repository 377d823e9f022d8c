from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.faces import talking_meshes
from helpers.voices import FPS, late, speech

from nerfstudio_talking.metrics.audio_sync import LipsInSilence, LipsInSpeech, LipSync, SyncNetScore
from nerfstudio_talking.metrics.base import MetricOptions, Unavailable
from nerfstudio_talking.metrics.functional import syncnet


def sync_scores(rendered: np.ndarray, gt: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    metric = LipSync(FPS, samples)
    for a, b in zip(rendered, gt):
        metric.update(a, b)
    return metric.compute()


def test_lips_that_follow_the_audio_are_above_chance() -> None:
    lips, samples = speech(10, seed=11)
    faces = talking_meshes(lips)
    scores = sync_scores(faces, faces, samples)
    assert scores["sync_score"] == scores["gt_sync_score"] > 1.5 * scores["sync_null_max"]
    assert abs(scores["sync_lag"]) < 0.6
    noisy = faces + np.random.default_rng(0).normal(0, 2, faces.shape)
    worse = sync_scores(noisy, faces, samples)
    assert worse["sync_score"] < scores["sync_score"] and worse["gt_sync_score"] == scores["gt_sync_score"]


@pytest.mark.parametrize("k", [-4, 5])
def test_shift_of_lips_and_of_audio_move_the_lag(k: int) -> None:
    lips, samples = speech(10, seed=12)
    faces = talking_meshes(lips)
    lips_late = sync_scores(np.roll(faces, k, axis=0), faces, samples)
    assert lips_late["sync_lag"] == pytest.approx(-k, abs=0.6)
    audio_late = sync_scores(faces, faces, late(samples, k))
    assert audio_late["sync_lag"] == pytest.approx(k, abs=0.6)
    assert audio_late["sync_score_in_place"] < audio_late["sync_score"]


def test_swapped_audio_falls_to_the_null() -> None:
    lips, samples = speech(10, seed=13)
    faces = talking_meshes(lips)
    right, swapped = sync_scores(faces, faces, samples), sync_scores(faces, faces, speech(10, seed=14)[1])
    assert swapped["sync_score"] < 1.5 * swapped["sync_null_max"] < right["sync_score"]


def test_audio_that_ends_early_is_silence() -> None:
    lips, samples = speech(2.4, seed=16)
    faces = talking_meshes(lips)
    scores = sync_scores(faces, faces, samples[:-8000])
    assert np.isfinite(scores["sync_score"])
    assert np.isnan(scores["sync_lag"]) and np.isnan(scores["sync_null_max"])  # too short to say by how much


def test_without_audio_there_is_no_score() -> None:
    for metric in (LipSync, LipsInSilence, LipsInSpeech):
        with pytest.raises(Unavailable, match="no audio"):
            metric.make(MetricOptions(FPS))
        assert metric.make(MetricOptions(FPS, (np.zeros(16000, np.float32), 16000))).rate == 16000


def test_lips_closed_in_silence_of_both_videos() -> None:
    samples = np.zeros(32000, np.float32)
    samples[:16000] = 0.3 * np.sin(np.arange(16000) * 0.3)
    gt_lips = np.zeros(50)
    gt_lips[:25] = 1.0
    rendered_lips = gt_lips.copy()
    rendered_lips[40:] = 1.0
    metric = LipsInSilence(FPS, samples)
    for a, b in zip(talking_meshes(rendered_lips), talking_meshes(gt_lips)):
        metric.update(a, b)
    # silent are 23 frames, since two after the audio are left to the closing lips
    assert metric.compute() == {
        "lips_closed_in_silence": pytest.approx(13 / 23),
        "gt_lips_closed_in_silence": 1.0,
        "lip_motion_in_silence": pytest.approx(25 / 22),
        "gt_lip_motion_in_silence": 0.0,
    }


def test_lips_in_speech_of_both_videos() -> None:
    """The voice lasts two seconds; the speaker closes the lips four times in it, the rendering twice, and moves half
    as far otherwise."""
    samples = np.zeros(48000, np.float32)
    samples[:32000] = 0.3 * np.sin(np.arange(32000) * 0.3)
    gt_lips = np.ones(75)
    gt_lips[[8, 18, 28, 38]] = 0.0
    rendered_lips = np.full(75, 1.0)
    rendered_lips[[8, 19]] = 0.0
    metric = LipsInSpeech(FPS, samples)
    for a, b in zip(talking_meshes(rendered_lips), talking_meshes(gt_lips)):
        metric.update(a, b)
    speech = slice(0, 52)  # until two frames after the audio
    assert metric.compute() == {
        "lips_closed_on_closures": pytest.approx(0.5),
        "lip_closures": 2.0,
        "gt_lip_closures": 4.0,
        "articulation_ratio": pytest.approx(rendered_lips[speech].std() / gt_lips[speech].std(), rel=1e-3),
    }


def test_syncnet_of_the_videos_that_are_given() -> None:
    torch.manual_seed(0)
    network = syncnet.SyncNet(dimensions=16).eval()
    crops = np.random.default_rng(0).integers(0, 255, (14, 224, 224, 3)).astype(np.uint8)
    samples = speech(0.56, seed=8)[1]
    metric = SyncNetScore(FPS, samples, network)
    metric.update(gt_crops=crops)
    wanted = syncnet.syncnet_score(crops, samples, FPS, network)
    assert metric.compute() == {
        "gt_syncnet_confidence": pytest.approx(wanted.confidence),
        "gt_syncnet_distance": pytest.approx(wanted.distance),
        "gt_syncnet_lag": wanted.lag,
    }
    metric.update(rendered_crops=crops[:8])
    assert np.isnan(metric.compute()["syncnet_distance"])  # too short
    assert not metric.state_dict() and not list(metric.parameters())
