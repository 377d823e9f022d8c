"""Relocation of faded Gaussians while a portrait is trained (splatting/relocation.py), within each group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from nerfstudio_talking.fields.deformable_gaussians import DeformableGaussians
from nerfstudio_talking.splatting.relocation import choose_relocations, split_opacity

_SPREAD = 0.5
"""Standard deviations by which a copy is displaced: coinciding copies would have equal gradients for ever."""


class DensityControl:
    """Collects how much the image asks of every Gaussian, and relocates faded ones.

    Args:
        groups: the groups of Gaussians, in the order in which they are drawn.
        least_opacity: Gaussians whose opacity without deformation is below this are relocated.
        most_share: greatest share of a group that is relocated at a time.
    """

    def __init__(
        self, groups: Mapping[str, DeformableGaussians], least_opacity: float = 0.05, most_share: float = 0.05
    ) -> None:
        self.groups, self.least_opacity, self.most_share = groups, least_opacity, most_share
        self._drawn: list[Tensor] = []
        self._demand: Tensor | None = None

    def keep(self, optimizers: Mapping[str, Optimizer]) -> None:
        """Put the demand into Adam's state of the opacities, which checkpoints contain; call it after each step."""
        for state, rows in self._states(optimizers):
            state.pop("demand", None)
            if self._demand is not None:
                state["demand"] = self._demand[rows]

    def restore(self, optimizers: Mapping[str, Optimizer]) -> None:
        """Take up the demand of a run that is resumed."""
        found = [state["demand"] for state, _ in self._states(optimizers) if "demand" in state]
        self._demand = torch.cat(found) if len(found) == len(self.groups) else None

    def _states(self, optimizers: Mapping[str, Optimizer]) -> Iterator[tuple[dict[str, Tensor], slice]]:
        """Adam's state of each group's opacities, and the rows of the group; none before the first step."""
        start = 0
        for group in self.groups.values():
            for optimizer in optimizers.values():
                state = optimizer.state.get(group.opacity_logits)
                if state:
                    yield state, slice(start, start + group.count)
            start += group.count

    def watch(self, means: Float[Tensor, "gaussians 2"]) -> None:
        """Take part in a rendering whose backward leaves the absolute gradients in `means.absgrad`."""
        self._drawn.append(means)

    def collect(self) -> None:
        """Add up what the renderings since the last call asked for; those without a backward are forgotten."""
        for means in self._drawn:
            absolute = getattr(means, "absgrad", None)
            if absolute is not None:
                demand = absolute.norm(dim=1)
                self._demand = demand if self._demand is None else self._demand + demand
        self._drawn.clear()

    @torch.no_grad()
    def relocate(self, optimizers: Mapping[str, Optimizer], seed: int) -> dict[str, int]:
        """Relocate faded Gaussians by the demand since the last call; their running means in Adam are forgotten.

        Args:
            optimizers: all optimizers; the parameters of groups are found in them.
            seed: seed of the draws; every process must give the same.

        Returns:
            Number of moves in each group.
        """
        if self._demand is None:
            return dict.fromkeys(self.groups, 0)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(self._demand)
        generator = torch.Generator().manual_seed(seed)
        moves, start = {}, 0
        for name, group in self.groups.items():
            demand = self._demand[start : start + group.count]
            start += group.count
            moved, sources = choose_relocations(
                torch.sigmoid(group.opacity_logits),
                demand,
                self.least_opacity,
                max(int(self.most_share * group.count), 1),
                generator,
            )
            moves[name] = len(moved)
            if len(moved):
                copy_gaussians(group, sources, moved, generator)
                for optimizer in optimizers.values():
                    _forget(optimizer, group, torch.cat([moved, sources]))
        self._demand = None
        return moves


@torch.no_grad()
def copy_gaussians(group: DeformableGaussians, sources: Tensor, targets: Tensor, generator: torch.Generator) -> None:
    """Make Gaussians copies of others; opacity and size of both become those of two that look like one."""
    opacity, shrink = split_opacity(torch.sigmoid(group.opacity_logits[sources]))
    group.opacity_logits[sources] = torch.logit(opacity.clamp(1e-4, 1 - 1e-4))
    group.log_scales[sources] += shrink.log()[:, None]
    for parameter in _rows_of(group):
        parameter[targets] = parameter[sources]
    group.initial_means[targets] = group.initial_means[sources]
    noise = torch.randn(len(targets), 3, generator=generator).to(group.means)
    group.means[targets] += _SPREAD * group.scales()[targets] * noise


def _rows_of(group: DeformableGaussians) -> list[Tensor]:
    """The parameters that have a row per Gaussian."""
    gates = [group.gates] if group.gated else []
    rows = [group.means, group.log_scales, group.quaternions, group.opacity_logits, group.colors, group.codes]
    return [*rows, *gates]


def _forget(optimizer: Optimizer, group: DeformableGaussians, rows: Tensor) -> None:
    for parameter in _rows_of(group):
        for name, value in optimizer.state.get(parameter, {}).items():
            if name.startswith("exp_avg"):
                value[rows] = 0
