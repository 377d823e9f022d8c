"""Projected Gaussians to an image: the implementations behind one function."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_talking.splatting.rasterize_torch import rasterize_torch

Implementation = Literal["auto", "gsplat", "numba", "torch"]


class Rasterized(NamedTuple):
    """An image of Gaussians."""

    image: Float[Tensor, "height width channels"]
    """Colours over the background."""
    alpha: Float[Tensor, "height width 1"]
    """Opacity."""


def fastest_on(device: torch.device) -> Implementation:
    """What `auto` stands for on a device."""
    if device.type == "cuda":
        from nerfstudio_talking.splatting.rasterize_gsplat import gsplat_has_kernels

        return "gsplat" if gsplat_has_kernels() else "numba"
    return "numba" if device.type == "cpu" else "torch"


def rasterize(
    means: Float[Tensor, "gaussians 2"],
    conics: Float[Tensor, "gaussians 3"],
    opacities: Float[Tensor, " gaussians"],
    colors: Float[Tensor, "gaussians channels"],
    depths: Float[Tensor, " gaussians"],
    radii: Int[Tensor, " gaussians"],
    width: int,
    height: int,
    background: Float[Tensor, "height width channels"] | None = None,
    implementation: Implementation = "auto",
    absgrad_of: Tensor | None = None,
) -> Rasterized:
    """Blend projected Gaussians front to back.

    Constants are gsplat's (constants.py). The gradient with respect to `depths` is none: they only sort.

    Args:
        means: pixels, x right and y down; the centre of the first pixel is (0.5, 0.5).
        conics: upper triangle (a, b, c) of the inverse covariance: exponent -(a dx^2 + c dy^2) / 2 - b dx dy.
        opacities: in [0, 1].
        colors: any number of channels of any meaning (RGB, logits, depth).
        depths: positive, metres; equal ones keep their order.
        radii: pixels; 0 for a Gaussian that is not to be drawn.
        width: of the image, pixels.
        height: of the image, pixels.
        background: what lies behind; nothing (zeros) where None.
        implementation: `numba` on a CPU, to which tensors on CUDA are copied; `gsplat` on CUDA; `torch` anywhere (dense
            and slow); `auto` chooses.
        absgrad_of: a tensor that backward gives an attribute `absgrad` of its own shape, the absolute gradients of the
            means summed over the pixels, for density control (AbsGS, Ye et al. 2024); usually `means` or its base.
            Not with `torch`.

    Raises:
        ValueError: numba is asked for on another device than a CPU or CUDA, or absolute gradients of `torch`.
    """
    if implementation == "auto":
        implementation = fastest_on(means.device)
    if implementation == "torch":
        if absgrad_of is not None:
            raise ValueError("the dense rasterizer has no absolute gradients: choose 'numba' or 'gsplat'")
        image, through = rasterize_torch(means, conics, opacities, colors, depths, radii, width, height)
    elif implementation == "numba":
        if means.device.type not in ("cpu", "cuda"):
            raise ValueError(f"numba rasterizes on CPUs, not on {means.device}")
        from nerfstudio_talking.splatting.rasterize_numba import NumbaRasterizer

        tensors = (x.cpu() for x in (means, conics, opacities, colors, depths, radii))
        image, through = NumbaRasterizer.apply(*tensors, width, height, absgrad_of)  # type: ignore[misc]
        image, through = image.to(means.device), through.to(means.device)
    else:
        from nerfstudio_talking.splatting.rasterize_gsplat import rasterize_gsplat

        image, through = rasterize_gsplat(means, conics, opacities, colors, depths, radii, width, height, absgrad_of)
    if background is not None:
        image = torch.addcmul(image, through[..., None], background)
    return Rasterized(image, 1 - through[..., None])
