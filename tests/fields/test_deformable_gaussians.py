"""Gaussians under blend modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_talking.fields.deformable_gaussians import UNITS, DeformableGaussians, InitialGaussians

CHANNELS = {"audio": 3, "eyes": 2, "pose": 4}


def initial(count: int, motions: dict[str, np.ndarray] | None = None) -> InitialGaussians:
    generator = np.random.default_rng(0)
    return InitialGaussians(
        generator.normal(size=(count, 3)), np.full(count, 0.01), generator.random((count, 3)), motions or {}
    )


def started(count: int = 40, ranks: int = 9, motions: dict[str, np.ndarray] | None = None) -> DeformableGaussians:
    torch.manual_seed(1)
    group = DeformableGaussians(count, CHANNELS, dict.fromkeys(CHANNELS, ranks), ("audio", "eyes"))
    group.start(initial(count, motions))
    return group


def conditions(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(length, generator=generator) for name, length in CHANNELS.items()}


def test_modes_begin_as_the_given_motions():
    generator = np.random.default_rng(2)
    motions = {"audio": 1e-3 * generator.normal(size=(40, 3, 3)), "eyes": 1e-3 * generator.normal(size=(40, 2, 3))}
    group, now = started(motions=motions), conditions(3)
    expected = torch.from_numpy(initial(40).means)
    for name, motion in motions.items():
        expected = expected + torch.einsum("nkx,k->nx", torch.from_numpy(motion), now[name].double())
    gaussians = group(now)
    # float32 of a sum of nine products of metres, about means of order one
    assert torch.allclose(gaussians.means.double(), expected, atol=30 * 2**-24)
    assert torch.allclose(gaussians.opacities, torch.sigmoid(torch.tensor(1.5)))
    assert torch.allclose(gaussians.colors.double(), torch.from_numpy(initial(40).colors), atol=2**-23)


def test_too_few_modes_keep_the_largest_motion():
    motion = np.zeros((40, 3, 3))
    motion[:, 0, 1] = 5e-3  # all of them move up by 5 mm per unit of the first channel
    motion[3, 2, 0] = 1e-5
    group = started(ranks=1, motions={"audio": motion})
    now = {"audio": torch.tensor([1.0, 0.0, 0.0]), "eyes": torch.zeros(2), "pose": torch.zeros(4)}
    moved = group(now).means.double() - torch.from_numpy(initial(40).means)
    assert torch.allclose(moved, torch.tensor([0.0, 5e-3, 0.0]).double(), atol=1e-5)


def test_nothing_moves_without_motion_at_first():
    gaussians = started()(conditions(4))
    assert torch.equal(gaussians.means, started().means)


def test_a_closed_gate_shuts_its_modality_out():
    group = started()
    with torch.no_grad():
        for matrix in group.matrices.values():
            matrix.linear.normal_()
    first, second = conditions(5), conditions(5)
    second["audio"] = second["audio"] + 1
    assert not torch.equal(group(first).means, group(second).means)
    with torch.no_grad():
        group.gates[:, group.gated.index("audio")] = -200.0
    assert torch.equal(group(first).means, group(second).means)
    second["pose"] = second["pose"] + 1  # has no gate
    assert not torch.equal(group(first).colors, group(second).colors)


def test_what_is_added_is_the_code_times_the_matrix():
    group, now = started(count=2), conditions(6)
    with torch.no_grad():
        for matrix in group.matrices.values():
            matrix.linear.normal_()
            matrix.out.weight.normal_()
    added, start = torch.zeros(2, 7), 0
    for name, rank in group.ranks.items():
        matrix = group.matrices[name]
        rows = now[name] @ matrix.linear + matrix.out(torch.tanh(matrix.hidden(now[name])))
        codes = group.codes[:, start : start + rank]
        gate = torch.sigmoid(group.gates[:, group.gated.index(name), None]) if name in group.gated else 1.0
        added = added + gate * (codes @ (rows.view(rank, 7) * torch.tensor(UNITS)))
        start += rank
    gaussians = group(now)
    assert torch.allclose(gaussians.means, group.means + added[:, :3])
    assert torch.allclose(torch.logit(gaussians.opacities.double()), (1.5 + added[:, 3]).double(), atol=1e-5)
    assert torch.allclose(gaussians.colors, group.colors + added[:, 4:])


@pytest.mark.parametrize("seed", [0, 7])
def test_the_start_depends_on_its_seed_alone(seed):
    first, second = (DeformableGaussians(10, CHANNELS, dict.fromkeys(CHANNELS, 4)) for _ in range(2))
    torch.manual_seed(0)
    first.start(initial(10), seed)
    torch.manual_seed(99)
    second.start(initial(10), seed)
    assert torch.equal(first.codes, second.codes)
    assert first.gates.shape == (10, 0)


def test_roughness_is_the_difference_to_the_nearest():
    group = DeformableGaussians(6, CHANNELS, dict.fromkeys(CHANNELS, 1))
    means = np.array([[0.0, 0, 0], [1, 0, 0], [2.1, 0, 0], [3.3, 0, 0], [4.6, 0, 0], [6.0, 0, 0]])
    group.start(InitialGaussians(means, np.full(6, 0.1), np.zeros((6, 3))))
    assert [sorted(row) for row in group.neighbours.tolist()[:2]] == [[1, 2, 3, 4], [0, 2, 3, 4]]
    with torch.no_grad():
        group.codes.zero_()
        assert group.roughness() == 0
        group.codes[0] = 3.0
    # 4 of the 4 x 6 pairs begin at the first, and others end there
    pairs = [(i, j) for i, row in enumerate(group.neighbours.tolist()) for j in row]
    wanted = 9.0 * sum((i == 0) != (j == 0) for i, j in pairs) / len(pairs)
    torch.manual_seed(0)
    assert group.roughness(20000).item() == pytest.approx(wanted, rel=0.05)


def test_depth_drift_is_along_z_alone():
    group = DeformableGaussians(4, CHANNELS, dict.fromkeys(CHANNELS, 1))
    group.start(initial(4))
    assert group.depth_drift() == 0
    with torch.no_grad():
        group.means[:, :2] += 0.5
        group.means[0, 2] += 0.03
    assert group.depth_drift().item() == pytest.approx(9 / 4, rel=1e-4)


def test_a_lone_gaussian_has_no_neighbours():
    group = DeformableGaussians(1, CHANNELS, dict.fromkeys(CHANNELS, 1))
    group.start(InitialGaussians(np.zeros((1, 3)), np.full(1, 0.1), np.zeros((1, 3))))
    assert group.roughness() == 0
