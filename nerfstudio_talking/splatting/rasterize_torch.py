"""The rasterizer written out in torch: every Gaussian at every pixel. The reference for the fast ones.

Memory grows with pixels times Gaussians: for tests and for tiny images.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_talking.splatting.constants import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, TILE


def rasterize_torch(
    means: Float[Tensor, "gaussians 2"],
    conics: Float[Tensor, "gaussians 3"],
    opacities: Float[Tensor, " gaussians"],
    colors: Float[Tensor, "gaussians channels"],
    depths: Float[Tensor, " gaussians"],
    radii: Int[Tensor, " gaussians"],
    width: int,
    height: int,
) -> tuple[Float[Tensor, "height width channels"], Float[Tensor, "height width"]]:
    """Image without background, and transmittance; arguments as in `rasterize`. Differentiable by autograd."""
    order = torch.argsort(depths, stable=True)
    order = order[radii[order] > 0]
    means, conics, opacities, colors, radii = (x[order] for x in (means, conics, opacities, colors, radii))
    rows = torch.arange(height, device=means.device)
    columns = torch.arange(width, device=means.device)
    dx = means[:, None, 0] - (columns + 0.5)  # (G, W)
    dy = means[:, None, 1] - (rows + 0.5)  # (G, H)
    a, b, c = (x[:, None, None] for x in conics.unbind(-1))
    sigma = 0.5 * (a * dx[:, None] ** 2 + c * dy[..., None] ** 2) + b * dx[:, None] * dy[..., None]  # (G, H, W)
    alpha = (opacities[:, None, None] * torch.exp(-sigma)).clamp_max(MAX_ALPHA)
    # a Gaussian is seen in whole tiles, those that the square about it touches
    reach = radii.to(means.dtype)
    low, high = ((means.detach() - reach[:, None]) / TILE).floor(), ((means.detach() + reach[:, None]) / TILE).ceil()
    in_x = (columns // TILE >= low[:, :1]) & (columns // TILE < high[:, :1])
    in_y = (rows // TILE >= low[:, 1:]) & (rows // TILE < high[:, 1:])
    seen = in_y[..., None] & in_x[:, None] & (sigma >= 0) & (alpha >= MIN_ALPHA)
    alpha = torch.where(seen, alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=0)
    # a pixel ends before the Gaussian that would leave less than the least transmittance
    lives = torch.cummin((after > MIN_TRANSMITTANCE).to(after.dtype).detach(), dim=0).values if len(after) else after
    alpha = alpha * lives
    after = torch.cumprod(1 - alpha, dim=0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]]) if len(after) else after
    image = torch.einsum("ghw,gc->hwc", alpha * before, colors)
    through = after[-1] if len(after) else means.new_ones(height, width)
    return image, through
