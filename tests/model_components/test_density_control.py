"""Density control of groups of Gaussians."""

from __future__ import annotations

import torch

from nerfstudio_talking.fields.deformable_gaussians import DeformableGaussians
from nerfstudio_talking.model_components.density_control import DensityControl


def group(count: int, faded: list[int], gated: tuple[str, ...] = ("audio",)) -> DeformableGaussians:
    torch.manual_seed(0)
    made = DeformableGaussians(count, {"audio": 2}, {"audio": 3}, gated)
    with torch.no_grad():
        made.means.normal_()
        made.initial_means.normal_()
        made.log_scales.fill_(-4.0)
        made.codes.normal_()
        made.opacity_logits[faded] = -6.0
    return made


def drawn(demand: list[float]) -> torch.Tensor:
    means = torch.zeros(len(demand), 2)
    means.absgrad = torch.tensor([[0.6 * d, 0.8 * d] for d in demand])  # type: ignore[attr-defined]
    return means


def test_faded_gaussians_become_copies_within_their_group():
    groups = {"head": group(6, [1]), "torso": group(4, [0], ())}
    control = DensityControl(groups, most_share=1.0)
    optimizer = torch.optim.Adam([p for made in groups.values() for p in made.parameters()])
    for made in groups.values():
        made({"audio": torch.ones(2)}).means.sum().backward()
    optimizer.step()
    before = {name: made.means.detach().clone() for name, made in groups.items()}
    sizes = groups["head"].log_scales.detach().clone()
    control.watch(drawn([0, 9, 0, 0, 2, 0, 9, 0, 0, 1]))
    control.watch(drawn([0, 0, 0, 0, 1, 0, 0, 0, 0, 0]))
    control.watch(torch.zeros(10, 2))  # rendered without a backward
    control.collect()
    assert control.relocate({"all": optimizer}, seed=0) == {"head": 1, "torso": 1}
    head, torso = groups["head"], groups["torso"]
    assert torch.equal(head.codes[1], head.codes[4])
    assert torch.equal(torso.codes[0], torso.codes[3])
    assert torch.equal(head.initial_means[1], head.initial_means[4])
    distance = (head.means[1] - before["head"][4]).norm()
    assert 0 < distance < 5 * 0.5 * float(head.scales()[4, 0].detach())
    assert torch.equal(head.means[[0, 2, 3, 4, 5]], before["head"][[0, 2, 3, 4, 5]])
    opacity = torch.sigmoid(head.opacity_logits)
    assert torch.allclose(1 - (1 - opacity[1]) * (1 - opacity[4]), torch.sigmoid(torch.tensor(1.5)), atol=2e-3)
    assert (head.log_scales[4] < sizes[4]).all()
    for row in (1, 4):
        assert not optimizer.state[head.means]["exp_avg"][row].any()
    assert optimizer.state[head.means]["exp_avg"][0].any()


def test_without_demand_nothing_is_relocated():
    control = DensityControl({"head": group(5, [2])})
    assert control.relocate({}, seed=0) == {"head": 0}
    control.watch(torch.zeros(5, 2))
    control.collect()
    assert control.relocate({}, seed=0) == {"head": 0}


def test_demand_is_part_of_a_checkpoint():
    made = {"head": group(3, []), "torso": group(2, [], ())}
    optimizer = torch.optim.Adam([p for one in made.values() for p in one.parameters()])
    for one in made.values():
        one({"audio": torch.ones(2)}).means.sum().backward()
        one.opacity_logits.grad = torch.ones_like(one.opacity_logits)
    optimizer.step()
    control = DensityControl(made)
    control.watch(drawn([1, 2, 3, 4, 5]))
    control.collect()
    control.keep({"all": optimizer})
    optimizer.load_state_dict(optimizer.state_dict())
    resumed = DensityControl(made)
    resumed.restore({"all": optimizer})
    assert resumed._demand is not None and resumed._demand.tolist() == [1, 2, 3, 4, 5]
    control.relocate({"all": optimizer}, seed=0)
    control.keep({"all": optimizer})
    resumed.restore({"all": optimizer})
    assert resumed._demand is None
