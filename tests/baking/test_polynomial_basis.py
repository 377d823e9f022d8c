"""The per-vertex regression: what it recovers and which views it covers."""

from __future__ import annotations

import torch

from nerfstudio_talking.baking.polynomial_basis import fit_matrix, polynomial_basis


def test_fit_recovers_a_quadratic_and_clamps_to_the_sampled_range():
    generator = torch.Generator().manual_seed(0)
    audio, eyes = torch.randn(200, 3, generator=generator), torch.rand(200, 2, generator=generator)
    positions = torch.randn(200, 3, generator=generator) * 0.05 + torch.tensor([0.0, 0.0, 0.8])
    terms = polynomial_basis(audio, eyes, positions)
    matrix = fit_matrix(terms(audio, eyes, positions), penalty=1e-6)
    gt = 0.3 + audio[:, 0] - 2 * audio[:, 1] * audio[:, 2] + eyes[:, 0] * eyes[:, 1]
    coefficients = matrix @ gt
    again = terms(audio, eyes, positions) @ coefficients
    torch.testing.assert_close(again, gt, atol=2e-3, rtol=0)
    # far outside of what was sampled the terms are those of its border
    far = terms(audio[:1] * 0 + 1e6, eyes[:1], positions[:1])
    assert torch.isfinite(far).all()
    assert far[:, 1:4].abs().max() <= max(terms.low.abs().max(), terms.high.abs().max())


def test_views_from_within_the_sampled_directions_are_covered():
    generator = torch.Generator().manual_seed(0)
    audio, eyes = torch.randn(50, 3, generator=generator), torch.rand(50, 2, generator=generator)
    x = torch.linspace(-0.1, 0.1, 50)
    positions = torch.stack([x, -0.5 * x, torch.full((50,), 0.8)], -1)
    terms = polynomial_basis(audio, eyes, positions)
    assert terms.covers(torch.tensor([0.05, 0.0, 0.8]))
    assert terms.covers(torch.tensor([0.15, 0.0, 2.4]))  # the direction counts, not the distance
    assert not terms.covers(torch.tensor([0.15, 0.0, 0.8]))
    assert not terms.covers(torch.tensor([0.0, 0.1, 0.8]))
    assert not terms.covers(torch.tensor([0.0, 0.0, -0.8]))  # from behind
