"""Projected Gaussians to an image: the implementations behind one function."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
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
        return "gsplat"
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
        implementation: `numba` on CPUs, `gsplat` on CUDA, `torch` anywhere (dense and slow); `auto` chooses.
        absgrad_of: a tensor that backward gives an attribute `absgrad` of its own shape, the absolute gradients of the
            means summed over the pixels, for density control (AbsGS, Ye et al. 2024); usually `means` or its base.

    Raises:
        ValueError: numba is asked for on another device than a CPU.
    """
    if implementation == "auto":
        implementation = fastest_on(means.device)
    if implementation == "torch":
        image, through = rasterize_torch(means, conics, opacities, colors, depths, radii, width, height)
    elif implementation == "numba":
        if means.device.type != "cpu":
            raise ValueError(f"numba rasterizes on CPUs, not on {means.device}")
        image, through = _NumbaRasterizer.apply(
            means, conics, opacities, colors, depths, radii, width, height, absgrad_of
        )  # type: ignore[misc]
    else:
        from nerfstudio_talking.splatting.rasterize_gsplat import rasterize_gsplat

        image, through = rasterize_gsplat(means, conics, opacities, colors, depths, radii, width, height, absgrad_of)
    if background is not None:
        image = torch.addcmul(image, through[..., None], background)
    return Rasterized(image, 1 - through[..., None])


class _NumbaRasterizer(torch.autograd.Function):
    """The kernels of kernels/rasterize_numba.py as an autograd function of float32."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, conics: Tensor, opacities: Tensor, colors: Tensor, depths: Tensor, radii: Tensor,
        width: int, height: int, absgrad_of: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Sort, bin, blend."""
        from nerfstudio_talking.splatting.kernels import rasterize_numba as kernels

        geometry = [_array(x) for x in (means, conics, opacities, colors)]
        count, tiles_x, tiles_y = len(geometry[0]), -(-width // kernels.TILE), -(-height // kernels.TILE)
        order, scratch = np.empty(count, np.int32), np.empty(count, np.int32)
        kernels.sort_by_depth(_array(depths), order, scratch)
        bounds, extents = np.empty((count, 4), np.int32), np.empty(count, np.float32)
        kernels.bounds_of(*geometry[:3], _array(radii, np.int32), width, height, bounds, extents)
        offsets = np.empty(tiles_x * tiles_y + 1, np.int64)
        pairs = kernels.count_tiles(bounds, tiles_x, offsets)
        ids = np.empty(pairs, np.int32)
        kernels.fill_tiles(order, bounds, tiles_x, offsets, ids, np.empty(len(offsets) - 1, np.int64))
        image = np.empty((height, width, geometry[3].shape[1]), np.float32)
        through = np.empty((height, width), np.float32)
        kernels.forward(*geometry, extents, offsets, ids, width, height, image, through)
        image, through = torch.from_numpy(image), torch.from_numpy(through)
        ctx.save_for_backward(means, conics, opacities, colors, image, through)
        ctx.bins = extents, offsets, ids
        ctx.size, ctx.absgrad_of = (width, height), absgrad_of
        return image, through

    @staticmethod
    def backward(ctx: Any, grad_image: Tensor, grad_through: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Blend a second time, and sum the gradients of each Gaussian."""
        from nerfstudio_talking.splatting.kernels import rasterize_numba as kernels

        means, conics, opacities, colors, image, through = ctx.saved_tensors
        extents, offsets, ids = ctx.bins
        # what is left of the ray's share after all Gaussians: image and transmittance under their gradients
        remainder = (image * grad_image).sum(-1) + through * grad_through
        geometry = np.zeros((len(means), kernels.GEOMETRY), np.float32)
        grad_colors = np.zeros(colors.shape, np.float32)
        pair_geometry = np.zeros((len(ids), kernels.GEOMETRY), np.float32)
        pair_colors = np.zeros((len(ids), colors.shape[1]), np.float32)
        kernels.backward(
            *(_array(x) for x in (means, conics, opacities, colors)), extents, offsets, ids, *ctx.size,
            _array(grad_image), _array(remainder), ctx.absgrad_of is not None, pair_geometry, pair_colors,
        )  # fmt: skip
        kernels.sum_pairs(ids, pair_geometry, pair_colors, geometry, grad_colors)
        grads = torch.from_numpy(geometry)
        if ctx.absgrad_of is not None:
            ctx.absgrad_of.absgrad = grads[:, 6:].reshape(ctx.absgrad_of.shape)  # type: ignore[attr-defined]
        return grads[:, :2], grads[:, 2:5], grads[:, 5], torch.from_numpy(grad_colors), None, None, None, None, None


def _array(values: Tensor, dtype: Any = np.float32) -> np.ndarray:
    return np.ascontiguousarray(values.detach().numpy(), dtype=dtype)
