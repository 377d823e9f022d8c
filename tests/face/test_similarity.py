"""Similarity transforms and rotations, against known ones and scipy."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from nerfstudio_talking.face.similarity import fit_rotation, fit_similarity


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


def test_rotation_is_that_of_scipy():
    """Kabsch's rotation of each noisy set; scipy's maps row vectors by its transpose."""
    rng = np.random.default_rng(0)
    target = rng.standard_normal((20, 3))
    target -= target.mean(0)
    sources = np.stack([3.0 * Rotation.random(random_state=seed).apply(target) for seed in range(4)])
    sources += 0.1 * rng.standard_normal(sources.shape)
    sources -= sources.mean(1, keepdims=True)
    found = fit_rotation(sources, target)
    for source, rotation in zip(sources, found):
        expected, _ = Rotation.align_vectors(target, source)
        np.testing.assert_allclose(rotation, expected.as_matrix().T, atol=1e-9)
        np.testing.assert_allclose(fit_rotation(source, target), rotation, atol=1e-12)


def test_a_mirrored_set_gives_a_rotation_still():
    target = np.random.default_rng(1).standard_normal((20, 3))
    target -= target.mean(0)
    assert np.linalg.det(fit_rotation(target * (-1, 1, 1), target)) > 0
