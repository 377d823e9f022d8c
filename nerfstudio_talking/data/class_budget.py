"""How many rays each parsing class gets: SSP-NeRF's semantic-aware dynamic ray sampling (Liu et al., ECCV 2022).

The paper's abstract names the idea and its code was never released. Ours are: shares in proportion to the running
photometric loss of each class, from a class-balanced start, with a floor; a part drawn uniformly over the image; and
the ratio by which a classifier is corrected for rays that are not uniform.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def class_shares(loss: Float[Tensor, " classes"], floor: float = 0.2) -> Float[Tensor, " classes"]:
    """Share of the rays that each class should get; sums to one.

    Args:
        loss: running photometric loss of each class; equal values, or zeros, mean class-balanced sampling.
        floor: part of the rays that is divided equally, whatever the loss, in [0, 1].
    """
    equal = torch.full_like(loss, 1.0 / len(loss))
    total = loss.sum()
    shares = loss / total if total > 0 else equal
    return (1 - floor) * shares + floor * equal


def divide_rays(
    shares: Float[Tensor, " classes"], pixels: Int64[Tensor, "frames classes"], rays: int, uniform_share: float = 0.0
) -> Int64[Tensor, "frames classes"]:
    """Whole numbers of rays for each class of each frame; each frame's sum to `rays`.

    Shares count among the classes that a frame shows. Each of them gets at least one ray, as long as there are rays
    for all; what rounding leaves goes to the largest remainders.

    Args:
        shares: share of the rays of each class.
        pixels: number of pixels of each class in each frame.
        rays: number of rays of a frame.
        uniform_share: part of the rays that is divided by the classes' pixels, as if drawn uniformly, in [0, 1].
    """
    shown = pixels > 0
    by_share = shares * shown
    by_share = by_share / by_share.sum(1, keepdim=True).clamp_min(1e-12)
    by_pixels = pixels / pixels.sum(1, keepdim=True).clamp_min(1)
    wanted = rays * ((1 - uniform_share) * by_share + uniform_share * by_pixels)
    # one ray for each class first, the rest by share
    first = shown.long() if int(shown.sum(1).max()) <= rays else torch.zeros_like(pixels)
    rest = (wanted - first).clamp_min(0)
    rest = rest * (rays - first.sum(1, keepdim=True)) / rest.sum(1, keepdim=True).clamp_min(1e-12)
    whole = rest.floor()
    missing = (rays - first.sum(1) - whole.sum(1)).long()
    order = torch.where(shown, rest - whole, -1.0).argsort(dim=1, descending=True).argsort(dim=1)
    return first + whole.long() + (order < missing[:, None]).long()


def oversampling(
    budget: Int64[Tensor, "frames classes"], pixels: Int64[Tensor, "frames classes"]
) -> Float[Tensor, " classes"]:
    """Frequency of each class among the rays over its frequency among the pixels; one for classes that are not shown.

    A classifier that is trained on the rays learns the rays' frequencies; `losses.parsing_cross_entropy` corrects its
    logits by this ratio.
    """
    drawn, present = budget.sum(0).float(), pixels.sum(0).float()
    ratio = (drawn / drawn.sum().clamp_min(1)) / (present / present.sum().clamp_min(1)).clamp_min(1e-12)
    return torch.where((drawn > 0) & (present > 0), ratio, torch.ones_like(ratio))


def draw_pixels(
    ids: Int64[Tensor, "frames pixels"], budget: Int64[Tensor, "frames classes"], generator: torch.Generator | None
) -> tuple[Int64[Tensor, " rays"], Int64[Tensor, " rays"]]:
    """Frame and pixel of every ray, drawn uniformly within each class of each frame.

    Args:
        ids: class of every pixel of a few frames.
        budget: number of rays of each class of each frame, from `divide_rays`.
        generator: random generator on the device of `ids`.
    """
    classes = budget.shape[1]
    order = ids.argsort(dim=1, stable=True)
    count = torch.zeros_like(budget).scatter_add_(1, ids, torch.ones_like(ids))
    start = count.cumsum(1) - count
    per_class = budget.flatten()
    group = torch.repeat_interleave(torch.arange(len(per_class), device=ids.device), per_class)
    u = torch.rand(len(group), generator=generator, device=ids.device)
    frame = group // classes
    position = start.flatten()[group] + (u * count.flatten()[group]).long()
    return frame, order[frame, position.clamp_max(ids.shape[1] - 1)]
