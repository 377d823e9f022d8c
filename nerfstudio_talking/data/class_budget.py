"""How many rays each parsing class gets: SSP-NeRF's semantic-aware dynamic ray sampling (Liu et al., ECCV 2022).

The paper's abstract names the idea and its code was never released. What is ours here: shares in proportion to the
running photometric loss of each class, from a class-balanced start, with a floor; the share of the audio; a part
drawn evenly over the image; and the correction of what the uneven rest would make a classifier believe.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def class_shares(
    loss: Float[Tensor, " classes"],
    relevance: Float[Tensor, " classes"] | None = None,
    relevance_share: float = 0.0,
    floor: float = 0.2,
) -> Float[Tensor, " classes"]:
    """Share of the rays that each class ought to get; sums to one.

    Args:
        loss: running photometric loss of each class; equal values mean class-balanced sampling.
        relevance: how much the audio changes each class, any scale; none where zero throughout.
        relevance_share: part of the rays that follow the relevance instead of the loss, in [0, 1].
        floor: part of the rays that is divided equally, whatever the loss, in [0, 1].
    """
    equal = torch.full_like(loss, 1.0 / len(loss))
    shares = _normalised(loss, equal)
    if relevance is not None and relevance_share > 0:
        shares = (1 - relevance_share) * shares + relevance_share * _normalised(relevance, shares)
    return (1 - floor) * shares + floor * equal


def _normalised(values: Tensor, otherwise: Tensor) -> Tensor:
    total = values.sum()
    return values / total if total > 0 else otherwise


def divide_rays(
    shares: Float[Tensor, " classes"], pixels: Int64[Tensor, "frames classes"], rays: int, even: float = 0.0
) -> Int64[Tensor, "frames classes"]:
    """Whole rays for each class of each frame; each frame's sum to `rays`.

    Shares count among the classes that a frame shows. The part `even` of the rays goes by the classes' areas instead,
    which is to draw it evenly over the image. Every class that it shows gets a ray at least, as long as there
    are rays for all; what rounding leaves goes to the largest remainders.
    """
    shown = pixels > 0
    by_share = shares * shown
    by_share = by_share / by_share.sum(1, keepdim=True).clamp_min(1e-12)
    wanted = rays * ((1 - even) * by_share + even * pixels / pixels.sum(1, keepdim=True).clamp_min(1))
    # nobody starves: one ray each first, the rest by share
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
    """How much more often each class is among the rays than among the pixels; one for classes that are not shown.

    A classifier that is taught on the rays believes in the rays' frequencies. With the logarithm of this ratio added to
    its logits in training, the logits alone are those of the pixels' (Menon et al., Long-tail learning via logit
    adjustment, ICLR 2021).
    """
    rays, area = budget.sum(0).float(), pixels.sum(0).float()
    ratio = (rays / rays.sum().clamp_min(1)) / (area / area.sum().clamp_min(1)).clamp_min(1e-12)
    return torch.where((rays > 0) & (area > 0), ratio, torch.ones_like(ratio))


def background_weights(
    ids: Int64[Tensor, " rays"], ratio: Float[Tensor, " classes"], background: int
) -> Float[Tensor, " rays"]:
    """What each ray counts where the background is to count as if it were drawn evenly; one for all other classes.

    A ray of the background teaches a volume one thing, to be empty there. Drawn more seldom than its pixels, it loses
    against the rays of hair and skin beside it, and the person swells over the silhouette.

    Args:
        ids: class of each ray.
        ratio: from `oversampling`.
        background: id of the background.
    """
    return torch.where(ids == background, 1 / ratio[background], 1.0)


def draw_pixels(
    ids: Int64[Tensor, "frames pixels"], budget: Int64[Tensor, "frames classes"], generator: torch.Generator | None
) -> tuple[Int64[Tensor, " rays"], Int64[Tensor, " rays"]]:
    """Frame and pixel of every ray, drawn evenly within each class of each frame.

    Args:
        ids: class of every pixel of a few frames.
        budget: from `divide_rays`.
        generator: of the draws, on the device of `ids`.
    """
    classes = budget.shape[1]
    order = ids.argsort(dim=1, stable=True)
    count = torch.zeros_like(budget).scatter_add_(1, ids, torch.ones_like(ids))
    start = count.cumsum(1) - count
    per_class = budget.flatten()
    group = torch.repeat_interleave(torch.arange(len(per_class), device=ids.device), per_class)
    u = torch.rand(len(group), generator=generator, device=ids.device)
    frame = group // classes
    place = start.flatten()[group] + (u * count.flatten()[group]).long()
    return frame, order[frame, place.clamp_max(ids.shape[1] - 1)]
