"""Relocation of faded Gaussians."""

from __future__ import annotations

import pytest
import torch

from nerfstudio_talking.splatting.relocation import choose_relocations, split_opacity


def test_the_faintest_move_to_where_the_image_asks():
    opacities = torch.tensor([0.9, 0.01, 0.8, 0.001, 0.7, 0.02])
    demand = torch.tensor([0.0, 5.0, 1.0, 5.0, 3.0, 5.0])
    moved, sources = choose_relocations(opacities, demand, 0.05, 2, torch.Generator().manual_seed(0))
    assert moved.tolist() == [3, 1]
    assert sorted(sources.tolist()) == [2, 4]  # not the faded ones, nor what nothing asks for


def test_demand_decides_how_often_a_source_is_drawn():
    opacities, demand = torch.tensor([0.01, 0.9, 0.9]), torch.tensor([0.0, 1.0, 3.0])
    generator = torch.Generator().manual_seed(0)
    drawn = [int(choose_relocations(opacities, demand, 0.05, 1, generator)[1]) for _ in range(2000)]
    share = drawn.count(2) / 2000
    assert abs(share - 0.75) < 4 * (0.75 * 0.25 / 2000) ** 0.5


@pytest.mark.parametrize("opacities", [[0.9, 0.8], [0.01, 0.01], []])
def test_nothing_moves_where_none_is_faded_or_none_is_left(opacities):
    moved, sources = choose_relocations(torch.tensor(opacities), torch.ones(len(opacities)), 0.05, 5)
    assert len(moved) == len(sources) == 0


@pytest.mark.parametrize("opacity", [0.05, 0.5, 0.95])
def test_two_copies_look_like_one(opacity):
    each, shrink = split_opacity(torch.tensor([opacity], dtype=torch.double))
    assert 1 - (1 - each) ** 2 == pytest.approx(opacity)  # at the centre
    # all the light that they take from what is behind, along a line through the centre
    x = torch.linspace(-8, 8, 20001, dtype=torch.double)
    one = opacity * torch.exp(-(x**2) / 2)
    copy = each * torch.exp(-(x**2) / (2 * shrink**2))
    two = 1 - (1 - copy) ** 2
    assert torch.trapezoid(two, x).item() == pytest.approx(torch.trapezoid(one, x).item(), rel=1e-6)
