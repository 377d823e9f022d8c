"""Windows are drawn with their ground truth, by seed and step alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from nerfstudio_talking.refiner.paired_dataset import PairedSequence, draw_batch
from nerfstudio_talking.refiner.roi import WHOLE

VIDEO = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 4, 4, 3).contiguous()
SEQUENCE = PairedSequence(VIDEO, VIDEO[1:4] * 10, np.array([1, 2, 3]), torch.eye(3))


def test_windows_have_their_own_ground_truth_and_identity():
    batch = draw_batch([SEQUENCE], 5, 2, seed=3)
    level = (batch.window[:, -1, 0, 0] + 1) * 127.5
    torch.testing.assert_close((batch.gt[:, 0, 0, 0] + 1) * 127.5, 10 * level, atol=1e-3, rtol=0)
    assert torch.equal(batch.identity.argmax(1), level.round().long() - 1)


def test_draws_depend_on_seed_and_step_alone():
    first, again, later, other = (
        draw_batch([SEQUENCE], step, 2, seed) for step, seed in ((5, 3), (5, 3), (6, 3), (5, 4))
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert any(not torch.equal(a, b) for a, b in zip(first, later))
    assert any(not torch.equal(a, b) for a, b in zip(first, other))


def test_sequences_are_drawn_by_their_length():
    longer = replace(
        SEQUENCE, rendered=VIDEO + 100, gt=VIDEO[[0, 1, 2, 3, 4, 5] * 3] + 100, frames=np.arange(6).repeat(3),
        identity=torch.zeros(18, 3),
    )  # fmt: skip
    drawn = [bool(draw_batch([SEQUENCE, longer], step, 1).window.max() > -0.5) for step in range(210)]
    assert sum(drawn) == pytest.approx(210 * 18 / 21, abs=18)  # three standard deviations: 3 sqrt(210 * 6/7 * 1/7)


def test_a_region_is_cut_out():
    ramp = torch.arange(16, dtype=torch.uint8).view(1, 4, 4, 1).expand(6, 4, 4, 3).contiguous()
    sequence = replace(SEQUENCE, rendered=ramp, gt=ramp[:3])
    whole, part = (draw_batch([replace(sequence, roi=roi)], 5, 2) for roi in (WHOLE, (0.5, 0.25, 1.0, 1.0)))
    for name in ("window", "gt"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[:, :, 1:, 2:]), name


def test_jitter_shifts_and_mirrors_windows_with_their_ground_truth():
    ramp = torch.arange(16, dtype=torch.uint8).view(1, 4, 4, 1).expand(6, 4, 4, 3).contiguous()
    sequence = replace(SEQUENCE, rendered=ramp, gt=ramp[:3], roi=(0.25, 0.25, 0.75, 0.75))
    seen = set()
    for step in range(60):
        batch = draw_batch([sequence], step, 1, jitter=0.5)
        assert torch.equal(batch.gt, batch.window[:, -3:])
        level = ((batch.gt[0, 0] + 1) * 127.5).round()
        assert abs(float(level[0, 1] - level[0, 0])) == 1
        assert float(level[1, 0] - level[0, 0]) == 4
        seen.add((float(level[0, 0]), float(level[0, 1])))
    assert len(seen) == 18  # nine places inside the image, each also mirrored


def test_counts_and_sizes_must_agree():
    for change in ({"frames": np.array([1, 2])}, {"gt": SEQUENCE.gt[:, :2]}):
        with pytest.raises((ValueError, TypeCheckError)):  # the latter where annotations are checked at run time
            replace(SEQUENCE, **change)
