"""Learning-rate schedules."""

from __future__ import annotations

import pytest

from nerfstudio_talking.engine.schedulers import DecaySchedulerConfig, decay_factor


def test_decay_is_plain_python():
    config = DecaySchedulerConfig(final_ratio=0.1, max_steps=100, warmup_steps=10)
    assert decay_factor(0, config) == pytest.approx(0.1)
    assert decay_factor(10, config) == 1.0
    assert decay_factor(55, config) == pytest.approx(0.1**0.5)
    assert decay_factor(1000, config) == pytest.approx(0.1)
    assert type(decay_factor(55, config)) is float
