"""The rasterizer on CUDA: gsplat's kernels (1.4 and 1.5)."""

from __future__ import annotations

import functools
import subprocess

import torch
from jaxtyping import Float, Int
from rich.markup import escape
from torch import Tensor

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.splatting.constants import TILE


@functools.cache
def gsplat_has_kernels() -> bool:
    """Whether gsplat's CUDA kernels can be had; the first call may compile them, which takes minutes.

    gsplat compiles them with `nvcc` unless a wheel brought them. Where that fails, one line says why.
    """
    try:
        from gsplat.cuda._backend import _C  # pyright: ignore[reportAttributeAccessIssue]
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:  # what torch's compiler raises
        reason = str(error).strip().split("\n")[0]
    else:
        if _C is not None:
            return True
        reason = "gsplat found no CUDA toolkit (nvcc)"
    CONSOLE.print(
        f"[yellow]gsplat has no CUDA kernels here: {escape(reason)}. Gaussians are rasterized on the CPU. "
        "A CUDA toolkit of torch's version, or gsplat's own wheel for it, makes it much faster."
    )
    return False


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
