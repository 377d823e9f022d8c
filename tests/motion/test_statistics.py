from __future__ import annotations

import numpy as np
import pytest
from helpers.motions import sway_poses

from nerfstudio_talking.motion.statistics import loudness_coupling, motion_statistics, statistics_distance


def test_distance_of_motion_statistics():
    pose = sway_poses(500)
    mine = motion_statistics(pose, 25)
    assert statistics_distance(mine, mine)["distance"] == 0
    assert statistics_distance(motion_statistics(3 - pose, 25), mine)["distance"] == pytest.approx(0, abs=1e-9)
    twice = motion_statistics(2 * pose, 25)
    for value in statistics_distance(twice, mine).values():
        assert value == pytest.approx(np.log(2))
    assert statistics_distance(mine, twice) == pytest.approx(statistics_distance(twice, mine))
    slow = motion_statistics(np.repeat(sway_poses(250), 2, 0), 25)
    assert statistics_distance(slow, motion_statistics(sway_poses(500), 25))["speed"] > 0.2
    tone = np.zeros((500, 6))
    tone[:, 0] = 0.1 * np.sin(2 * np.pi * 1.5 * np.arange(500) / 25)
    spectrum = motion_statistics(tone, 25).spectrum[0]
    assert spectrum.argmax() == 2  # 1 to 2 Hz
    assert spectrum[2] == pytest.approx(0.1 * 2 * np.pi * 1.5 / 2**0.5, rel=0.05)


def test_coupling_of_speed_and_loudness():
    level = np.repeat(np.random.default_rng(0).uniform(0, 1, 40), 12)
    pose = np.zeros((480, 6))
    pose[:, 2] = np.cumsum(level)
    assert loudness_coupling(pose, level, 25) > 0.95
    pose[:, 2] = np.cumsum(1 - level)
    assert loudness_coupling(pose, level, 25) < -0.95
