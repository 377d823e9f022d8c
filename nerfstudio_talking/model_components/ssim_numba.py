"""Mean SSIM on CPUs: the kernels of kernels/ssim_numba.py as an autograd function of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfstudio_talking.model_components.kernels import ssim_numba as kernels


class NumbaSimilarity(torch.autograd.Function):
    """Mean SSIM of two images (height, width, channels), differentiable in the first."""

    @staticmethod
    def forward(ctx: Any, rendered: Tensor, gt: Tensor) -> Tensor:
        """Blur, compare, and keep the partial derivatives."""
        height, _, channels = rendered.shape
        x, y = _rows(rendered), _rows(gt)
        # an odd number of cache lines: eleven rows under each other would otherwise compete for a few sets of the cache
        stride = (-(-x.shape[1] // kernels.WIDTH) | 1) * kernels.WIDTH
        planes = _buffer(4, height, stride)
        sums = np.empty(height, np.float32)
        partials = np.zeros((3, height, stride + 2 * kernels.REACH * channels), np.float32)
        kernels.forward(x, y, channels, planes, sums, partials)
        ctx.save_for_backward(rendered, gt)
        ctx.partials, ctx.stride = partials, stride
        return rendered.new_tensor(sums.sum(dtype=np.float64) / x.size)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Blur the partial derivatives."""
        rendered, gt = ctx.saved_tensors
        x, y = _rows(rendered), _rows(gt)
        grad = np.empty_like(x)
        scale = np.float32(float(grad_output) / x.size)
        planes = _buffer(3, len(x), ctx.stride)
        kernels.backward(x, y, rendered.shape[-1], ctx.partials, scale, planes, grad)
        return torch.from_numpy(grad).view(rendered.shape), None


def _rows(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.detach().numpy()).reshape(len(image), -1)


def _buffer(count: int, height: int, stride: int) -> np.ndarray:
    """Planes whose rows above and below the image are zeros; the others are not set."""
    planes = np.empty((count, height + 2 * kernels.REACH, stride), np.float32)
    planes[:, : kernels.REACH] = planes[:, -kernels.REACH :] = 0
    return planes
