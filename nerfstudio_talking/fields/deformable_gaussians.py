"""Gaussians that a frame's conditions move, fade and shade: linear blend modes with a matrix per frame.

Each Gaussian has a code, its share in some modes. Each frame has, for every modality (audio, eyes, head pose ...), a
matrix that says what each mode adds to position, opacity and colour; it is a linear map of the condition plus a small
network of it. What is added to a Gaussian is its code times that matrix: a product of two small matrices, however many
Gaussians there are. The modes begin as the motion of the tracked landmarks under the conditions, so that lips open and
eyes blink before the first step. Blend modes of Gaussians were used for heads by Ma et al. (SIGGRAPH 2024).

A gate in [0, 1] per Gaussian and modality is its regional saliency (Wang et al. 2025): how far the modality reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor, nn

from nerfstudio_talking.splatting.gaussians import Gaussians
from nerfstudio_talking.splatting.projection import covariances_of

UNITS = (0.01, 0.01, 0.01, 1.0, 0.1, 0.1, 0.1)
"""Units of what a mode adds: metres, logits, colours."""
_NEIGHBOURS = 4
"""Number of neighbours whose codes are compared."""
_INITIAL_GATE = 2.0
"""Logit of a gate at the beginning."""
_INITIAL_OPACITY = 1.5
"""Logit of an opacity at the beginning."""


@dataclass(frozen=True)
class InitialGaussians:
    """What Gaussians begin as."""

    means: Float[np.ndarray, "gaussians 3"]
    """Centres, metres."""
    radii: Float[np.ndarray, " gaussians"]
    """Standard deviation along every axis, metres."""
    colors: Float[np.ndarray, "gaussians 3"]
    """RGB in [0, 1]."""
    motions: dict[str, Float[np.ndarray, "gaussians _ 3"]] = field(default_factory=dict)
    """Metres that a Gaussian moves per unit of each channel of a modality's condition."""


class ModeMatrix(nn.Module):
    """From a condition to what each mode adds, in `UNITS`.

    Args:
        channels: length of the condition.
        rank: number of modes.
        hidden_dim: width of the network.
    """

    def __init__(self, channels: int, rank: int, hidden_dim: int = 32) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.zeros(channels, rank * len(UNITS)))
        self.hidden = nn.Linear(channels, hidden_dim)
        self.out = nn.Linear(hidden_dim, rank * len(UNITS))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, condition: Float[Tensor, " channels"]) -> Float[Tensor, "rank 7"]:
        """The matrix of a frame."""
        return (condition @ self.linear + self.out(torch.tanh(self.hidden(condition)))).view(-1, len(UNITS))


class DeformableGaussians(nn.Module):
    """A group of Gaussians under conditions. The constructor gives sizes; `start` gives values.

    Args:
        count: number of Gaussians.
        channels: length of each modality's condition.
        ranks: number of modes of each modality.
        gated: the modalities with a gate.
        hidden_dim: width of the modes' networks.
    """

    units: Tensor
    initial_means: Tensor
    neighbours: Tensor

    def __init__(
        self,
        count: int,
        channels: Mapping[str, int],
        ranks: Mapping[str, int],
        gated: tuple[str, ...] = (),
        hidden_dim: int = 32,
    ) -> None:
        super().__init__()
        self.ranks = {name: ranks[name] for name in channels}
        self.gated = tuple(name for name in channels if name in gated)
        self.means = nn.Parameter(torch.zeros(count, 3))
        self.log_scales = nn.Parameter(torch.zeros(count, 3))
        self.quaternions = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1))
        self.opacity_logits = nn.Parameter(torch.full((count,), _INITIAL_OPACITY))
        self.colors = nn.Parameter(torch.zeros(count, 3))
        gates = torch.full((count, len(self.gated)), _INITIAL_GATE)
        if self.gated:
            self.gates = nn.Parameter(gates)
        else:  # no parameter that nothing trains
            self.register_buffer("gates", gates, persistent=False)
        self.codes = nn.Parameter(torch.zeros(count, sum(self.ranks.values())))
        self.matrices = nn.ModuleDict({name: ModeMatrix(channels[name], ranks[name], hidden_dim) for name in channels})
        self.register_buffer("units", torch.tensor(UNITS), persistent=False)
        self.register_buffer("initial_means", torch.zeros(count, 3))  # relocation changes them
        self.register_buffer("neighbours", torch.zeros(count, _NEIGHBOURS, dtype=torch.long), persistent=False)

    @torch.no_grad()
    def start(self, initial: InitialGaussians, seed: int = 0) -> None:
        """Take initial values; modes reproduce the initial motions, and those that are left get small random codes.

        Args:
            initial: as many Gaussians as there are.
            seed: seed of the random codes.
        """
        self.means.copy_(torch.from_numpy(initial.means))
        self.initial_means.copy_(self.means)
        self.log_scales.copy_(torch.from_numpy(np.log(initial.radii))[:, None])
        self.neighbours.copy_(torch.from_numpy(_nearest(initial.means)))
        self.colors.copy_(torch.from_numpy(initial.colors))
        self.codes.copy_(0.1 * torch.randn(self.codes.shape, generator=torch.Generator().manual_seed(seed)))
        start = 0
        for name, rank in self.ranks.items():
            motion = initial.motions.get(name)
            if motion is not None and np.any(motion):
                self._start_modes(name, motion, self.codes[:, start : start + rank])
            start += rank

    def _start_modes(
        self, name: str, motion: Float[np.ndarray, "gaussians channels 3"], codes: Float[Tensor, "gaussians rank"]
    ) -> None:
        """Set a modality's matrix, and codes in place, to the leading modes of a motion (singular values)."""
        count, channels, _ = motion.shape
        u, s, vt = np.linalg.svd(motion.reshape(count, -1), full_matrices=False)
        kept = min(codes.shape[1], int((s > 1e-6 * s[0]).sum()))
        codes[:, :kept] = torch.from_numpy(u[:, :kept] * np.sqrt(count)).to(codes)
        gate = 1 / (1 + np.exp(-_INITIAL_GATE)) if name in self.gated else 1.0
        moved = (vt[:kept] * s[:kept, None] / np.sqrt(count) / gate).reshape(kept, channels, 3).transpose(1, 0, 2)
        linear = self.matrices[name].linear.data.view(channels, codes.shape[1], len(UNITS))  # type: ignore[operator]
        linear[:, :kept, :3] = torch.from_numpy(moved).to(linear) / self.units[:3]

    def roughness(self, count: int = 2048) -> Float[Tensor, ""]:
        """Mean square difference between the codes of Gaussians and of their neighbours at the beginning.

        Args:
            count: number of Gaussians, drawn at random, that are looked at.
        """
        rows = torch.randint(self.count, (count,), device=self.codes.device)
        around = self.codes[self.neighbours[rows]]
        return (around - self.codes[rows, None]).square().mean()

    def depth_drift(self) -> Float[Tensor, ""]:
        """Mean square distance, in centimetres, that Gaussians have gone from where they began along z."""
        return ((self.means - self.initial_means)[:, 2] * 100).square().mean()

    @property
    def count(self) -> int:
        """Number of Gaussians."""
        return len(self.means)

    def saliency(self) -> Float[Tensor, "gaussians gated"]:
        """How far each gated modality reaches each Gaussian, in [0, 1]."""
        return torch.sigmoid(self.gates)

    def scales(self) -> Float[Tensor, "gaussians 3"]:
        """Standard deviations along the axes, metres."""
        return self.log_scales.exp()

    def forward(self, conditions: Mapping[str, Float[Tensor, " _"]]) -> Gaussians:
        """The Gaussians of a frame.

        Args:
            conditions: the condition of each modality.
        """
        saliency = dict(zip(self.gated, self.saliency().unbind(1)))
        added = None
        for (name, matrix), codes in zip(self.matrices.items(), self.codes.split(list(self.ranks.values()), 1)):
            part = codes @ (matrix(conditions[name]) * self.units)
            if name in saliency:
                part = part * saliency[name][:, None]
            added = part if added is None else added + part
        assert added is not None
        moved, faded, shaded = added.split([3, 1, 3], 1)
        return Gaussians(
            self.means + moved,
            covariances_of(self.quaternions, self.scales()),
            torch.sigmoid(self.opacity_logits + faded[:, 0]),
            self.colors + shaded,
        )


def _nearest(points: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, "points neighbours"]:
    """The nearest other points of each point; its own index where there are too few."""
    found = KDTree(points).query(points, min(1 + _NEIGHBOURS, len(points)))[1].reshape(len(points), -1)
    missing = np.repeat(found[:, :1], 1 + _NEIGHBOURS - found.shape[1], 1)
    return np.concatenate([found, missing], 1)[:, 1:]
