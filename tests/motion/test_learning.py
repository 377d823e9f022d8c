from __future__ import annotations

import pytest
import torch
from helpers.motions import TINY

from nerfstudio_talking.motion.learning import LearningOptions, Sample, train_network
from nerfstudio_talking.motion.network import MotionNetwork


def learn(checkpoint, stop_at=None, seed=0):
    """Train a few epochs on targets that audio predicts; interrupted in the given epoch."""
    generator = torch.Generator().manual_seed(3)
    patches = torch.randn(96, 28, 12, generator=generator)
    targets = torch.cat([patches.mean((1, 2))[:, None] * 20, torch.zeros(96, 7)], 1)
    samples = [Sample(patches[:64], targets[:64]), Sample(patches[64:], targets[64:])]
    torch.manual_seed(seed)
    network = MotionNetwork(TINY, 2)
    calls = []

    def advance(losses):
        calls.append(losses)
        if len(calls) == stop_at:
            raise KeyboardInterrupt

    options = LearningOptions(epochs=6, batch=4, save_every=2, seed=seed)
    history, best = train_network(network, samples[:1], samples[1:], torch.ones(2), options, checkpoint, advance)
    return network.state_dict(), history, best, calls


def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path):
    straight, history, best, calls = learn(None)
    assert len(calls) == 6
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "c.pt", stop_at=5)  # after the fifth epoch; the state is of the fourth
    resumed, again, best_again, _ = learn(tmp_path / "c.pt")
    for name in straight:
        torch.testing.assert_close(resumed[name], straight[name], atol=0, rtol=0)
        torch.testing.assert_close(best_again[name], best[name], atol=0, rtol=0)
    assert again.held_out == history.held_out
    assert again.train == history.train
    other, *_ = learn(None, seed=1)
    assert any(not torch.equal(other[name], straight[name]) for name in straight)
