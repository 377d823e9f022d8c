"""Similarity transforms against a known one."""

from __future__ import annotations

import numpy as np

from nerfstudio_talking.face.similarity import fit_similarity


def test_scale_rotation_and_shift_are_recovered():
    rng = np.random.default_rng(0)
    source = rng.normal(size=9) + 1j * rng.normal(size=9)
    factors, shifts = np.array([2.0, 0.5 * np.exp(0.3j)]), np.array([1 + 2j, -3.0 + 0j])
    factor, shift = fit_similarity(source, factors[:, None] * source + shifts[:, None])
    np.testing.assert_allclose(factor, factors, atol=1e-12)
    np.testing.assert_allclose(shift, shifts, atol=1e-12)


def test_noisy_points_have_the_least_squares_fit():
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(2, 12)) + 1j * rng.normal(size=(2, 12))
    (factor, shift), *_ = np.linalg.lstsq(np.stack([source, np.ones(12)], 1), target, rcond=None)
    np.testing.assert_allclose(fit_similarity(source, target), (factor, shift), atol=1e-12)


def test_coincident_points_are_only_shifted():
    factor, shift = fit_similarity(np.full(3, 2 + 1j), np.full(3, 5 - 1j))
    assert (factor, shift) == (0, 5 - 1j)
