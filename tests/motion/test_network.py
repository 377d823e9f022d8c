from __future__ import annotations

import pytest
import torch
from helpers.motions import TINY

from nerfstudio_talking.motion.network import MotionLossWeights, MotionNetwork, motion_losses


def test_losses_by_hand():
    predicted, target = torch.zeros(1, 3, 8), torch.zeros(1, 3, 8)
    predicted[0, 1, 0] = 2.0  # one of two coefficients, one of three frames
    predicted[0, :, 2] = 3.0  # one of six pose parameters, throughout
    weights = MotionLossWeights(0.2, 0.5, 0.1, 0.01, 0.001)
    losses = motion_losses(predicted, target, torch.tensor([1.5, 0.5]), weights)
    assert float(losses["expression"]) == pytest.approx(1.5 * 4 / 6)
    assert float(losses["pose"]) == pytest.approx(0.2 * 9 / 6)
    assert float(losses["expression_change"]) == pytest.approx(0.5 * 1.5 * 8 / 4)
    assert float(losses["pose_change"]) == 0
    assert float(losses["smoothness"]) == pytest.approx(0.001 * 8 / 4)


def test_long_audio_is_predicted_as_short_audio_is():
    torch.manual_seed(0)
    network = MotionNetwork(TINY, 5)
    patches = torch.randn(700, 28, 12)
    whole = network.predict(patches)
    assert whole.shape == (700, 11)
    assert torch.isfinite(whole).all()
    # frames far from the cut do not see it
    torch.testing.assert_close(network.predict(patches[:400])[:380], whole[:380], atol=1e-5, rtol=1e-4)
    assert network.predict(patches[:1]).shape == (1, 11)
    steady = network.predict(patches[:1].expand(100, -1, -1))
    torch.testing.assert_close(steady, steady[:1].expand(100, -1), atol=1e-3, rtol=0)
