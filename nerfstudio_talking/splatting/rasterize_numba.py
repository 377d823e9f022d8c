"""The rasterizer on CPUs: the kernels of kernels/rasterize_numba.py as an autograd function of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfstudio_talking.splatting.kernels import rasterize_numba as kernels


class NumbaRasterizer(torch.autograd.Function):
    """Image without background, and transmittance; arguments as in `rasterize`."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, conics: Tensor, opacities: Tensor, colors: Tensor, depths: Tensor, radii: Tensor,
        width: int, height: int, absgrad_of: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Sort by depth, bin into tiles, blend."""
        m, k, o, c = (_array(x) for x in (means, conics, opacities, colors))
        count, tiles_x, tiles_y = len(m), -(-width // kernels.TILE), -(-height // kernels.TILE)
        order, scratch = np.empty(count, np.int32), np.empty(count, np.int32)
        kernels.sort_by_depth(_array(depths), order, scratch)
        bounds, extents = np.empty((count, 4), np.int32), np.empty(count, np.float32)
        kernels.bounds_of(m, k, o, _array(radii, np.int32), width, height, bounds, extents)
        offsets = np.empty(tiles_x * tiles_y + 1, np.int64)
        ids = np.empty(kernels.count_tiles(bounds, tiles_x, offsets), np.int32)
        kernels.fill_tiles(order, bounds, tiles_x, offsets, ids, np.empty(len(offsets) - 1, np.int64))
        pixels, left = np.empty((height, width, c.shape[1]), np.float32), np.empty((height, width), np.float32)
        kernels.forward(m, k, o, c, extents, offsets, ids, width, height, pixels, left)
        image, through = torch.from_numpy(pixels), torch.from_numpy(left)
        ctx.save_for_backward(means, conics, opacities, colors, image, through)
        ctx.bins, ctx.size, ctx.absgrad_of = (extents, offsets, ids), (width, height), absgrad_of
        return image, through

    @staticmethod
    def backward(ctx: Any, grad_image: Tensor, grad_through: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Blend a second time, and sum the gradients of each Gaussian."""
        means, conics, opacities, colors, image, through = ctx.saved_tensors
        m, k, o, c = (_array(x) for x in (means, conics, opacities, colors))
        (extents, offsets, ids), (width, height) = ctx.bins, ctx.size
        remainder = _array((image * grad_image).sum(-1) + through * grad_through)
        pair_geometry = np.zeros((len(ids), kernels.GEOMETRY), np.float32)
        pair_colors = np.zeros((len(ids), c.shape[1]), np.float32)
        absolute = ctx.absgrad_of is not None
        kernels.backward(
            m, k, o, c, extents, offsets, ids, width, height, _array(grad_image), remainder, absolute, pair_geometry,
            pair_colors,
        )  # fmt: skip
        geometry, of_colors = np.zeros((len(m), kernels.GEOMETRY), np.float32), np.zeros(c.shape, np.float32)
        kernels.sum_pairs(ids, pair_geometry, pair_colors, geometry, of_colors)
        grads = torch.from_numpy(geometry)
        if absolute:
            of = ctx.absgrad_of
            of.absgrad = grads[:, 6:].reshape(of.shape).to(of.device)
        return grads[:, :2], grads[:, 2:5], grads[:, 5], torch.from_numpy(of_colors), None, None, None, None, None


def _array(values: Tensor, dtype: Any = np.float32) -> np.ndarray:
    return np.ascontiguousarray(values.detach().numpy(), dtype=dtype)
