"""Gains from held-out predictions, and fine-tuning that is interrupted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.motions import TINY, write_sample_motion

from nerfstudio_talking.face.linear_face_model import fit_face_basis
from nerfstudio_talking.motion.learning import LearningOptions
from nerfstudio_talking.motion.model import MotionModel
from nerfstudio_talking.motion.network import MotionNetwork
from nerfstudio_talking.motion.recording import load_recording
from nerfstudio_talking.motion.training import PersonalConfig, demean, fine_tune, shrinkage, spread_gain


def test_blocks_have_mean_zero():
    values = np.array([[1.0], [3.0], [10.0], [20.0], [30.0]])
    found = demean(values, [np.array([0, 1]), np.array([2, 3, 4])])
    np.testing.assert_allclose(found[:, 0], [-1, 1, -10, 0, 10])


def test_gains_by_hand():
    rng = np.random.default_rng(0)
    predicted, noise = rng.standard_normal((2, 4000, 1))
    target = predicted + noise  # correlation 0.71
    np.testing.assert_allclose(shrinkage(2 * predicted, target), 0.5, atol=0.03)
    assert shrinkage(rng.standard_normal((4000, 1)), target)[0] == 0
    gain, correlation = spread_gain(predicted, target)
    assert correlation[0] == pytest.approx(0.707, abs=0.03)
    assert gain[0] == pytest.approx(2**0.5, abs=0.05)
    assert spread_gain(0.01 * predicted, target)[0][0] == 1.6


def test_fine_tuning_resumes(tmp_path):
    recording = load_recording(write_sample_motion(tmp_path / "sample"), 100)
    basis = fit_face_basis([(recording.shapes, recording.closure)], 3)
    torch.manual_seed(0)
    general = MotionModel(MotionNetwork(TINY, 3), TINY, basis)
    config = PersonalConfig(folds=2, learning=LearningOptions(epochs=2, save_every=1))
    straight, metrics = fine_tune(general, recording, config)
    calls = []

    def advance(stage, losses, total):
        calls.append(stage)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(general, recording, config, tmp_path / "w", advance)
    assert calls == ["block 1", "block 1", "block 2"]
    resumed, again = fine_tune(general, recording, config, tmp_path / "w")
    assert again == metrics
    for name, value in straight.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, atol=0, rtol=0)
    np.testing.assert_array_equal(resumed.person.process.matrices, straight.person.process.matrices)
