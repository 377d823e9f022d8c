"""Density control by relocation: Gaussians that have faded move to where the image still asks for detail.

The number of Gaussians stays, so that a budget is kept and no memory grows. A faded Gaussian becomes a copy of another
one, and both get the opacity and the size with which together they look like the one before (Kheradmand et al.,
NeurIPS 2024, equation 9, for two copies). Sources are drawn by the absolute gradients of their image positions (Ye et
al. 2024), instead of by opacity alone.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def choose_relocations(
    opacities: Float[Tensor, " gaussians"],
    demand: Float[Tensor, " gaussians"],
    least_opacity: float,
    most: int,
    generator: torch.Generator | None = None,
) -> tuple[Int64[Tensor, " moved"], Int64[Tensor, " moved"]]:
    """Which Gaussians move, and which one each of them becomes a copy of; no source is used twice.

    Args:
        opacities: in [0, 1].
        demand: not negative; sources are drawn in proportion to it.
        least_opacity: fainter Gaussians move.
        most: greatest number of moves.
        generator: random generator on the CPU.
    """
    faded = (opacities < least_opacity).nonzero()[:, 0]
    weights = torch.where(opacities < least_opacity, torch.zeros_like(demand), demand).double().cpu()
    count = min(len(faded), most, int((weights > 0).sum()))
    if count == 0:
        nothing = faded[:0]
        return nothing, nothing
    sources = torch.multinomial(weights, count, generator=generator).to(faded)
    return faded[opacities[faded].argsort()[:count]], sources


def split_opacity(
    opacity: Float[Tensor, " gaussians"],
) -> tuple[Float[Tensor, " gaussians"], Float[Tensor, " gaussians"]]:
    """Opacity of each of two coinciding copies that look like one Gaussian, and the factor of its standard deviations.

    Args:
        opacity: of the one Gaussian, in (0, 1).
    """
    each = 1 - (1 - opacity).sqrt()
    return each, opacity / (2 * each - each.square() / math.sqrt(2))
