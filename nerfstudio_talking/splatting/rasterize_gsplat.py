"""The rasterizer on CUDA: gsplat's kernels (1.4 and 1.5)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_talking.splatting.constants import TILE


def rasterize_gsplat(
    means: Float[Tensor, "gaussians 2"],
    conics: Float[Tensor, "gaussians 3"],
    opacities: Float[Tensor, " gaussians"],
    colors: Float[Tensor, "gaussians channels"],
    depths: Float[Tensor, " gaussians"],
    radii: Int[Tensor, " gaussians"],
    width: int,
    height: int,
    absgrad_of: Tensor | None = None,
) -> tuple[Float[Tensor, "height width channels"], Float[Tensor, "height width"]]:
    """Image without background, and transmittance; arguments as in `rasterize`, on a CUDA device."""
    from gsplat.cuda._wrapper import isect_offset_encode, isect_tiles, rasterize_to_pixels

    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    batch = means[None]
    _, pairs, flat = isect_tiles(batch.detach(), radii[None], depths[None].detach(), TILE, tiles_x, tiles_y)
    offsets = isect_offset_encode(pairs, 1, tiles_x, tiles_y)
    image, alpha = rasterize_to_pixels(
        batch, conics[None], colors[None], opacities[None], width, height, TILE, offsets, flat,
        absgrad=absgrad_of is not None,
    )  # fmt: skip
    if absgrad_of is not None:

        def keep(_: Tensor) -> None:
            absgrad_of.absgrad = batch.absgrad.reshape(absgrad_of.shape)  # type: ignore[attr-defined]

        # gsplat leaves the absolute gradients on the tensor that it was given, before this one's gradient is made
        means.register_hook(keep)
    return image[0], torch.ones_like(alpha[0, ..., 0]) - alpha[0, ..., 0]
