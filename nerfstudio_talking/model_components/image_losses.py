"""Losses between whole images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_TAPS, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def weighted_absolute_error(
    rendered: Float[Tensor, "height width 3"],
    gt: Float[Tensor, "height width 3"],
    weights: Float[Tensor, "height width"],
) -> Float[Tensor, ""]:
    """Mean absolute error with a weight per pixel; the weights are not normalised."""
    return ((rendered - gt).abs().mean(-1) * weights).mean()


def structural_similarity(
    rendered: Float[Tensor, "height width channels"], gt: Float[Tensor, "height width channels"]
) -> Float[Tensor, ""]:
    """Mean SSIM of images in [0, 1] (Wang et al. 2004), differentiable: Gaussian window of 11 taps, zeros outside.

    Metrics use torchmetrics' SSIM instead (metrics/functional/images.py), which leaves the border out. In training on a
    CPU in float32 one numba kernel does it all; elsewhere torch does.
    """
    on_cpu = rendered.device.type == gt.device.type == "cpu" and rendered.dtype == gt.dtype == torch.float32
    if on_cpu and rendered.requires_grad and not gt.requires_grad and rendered.numel():
        # only here: nothing else needs the compiler
        from nerfstudio_talking.model_components.ssim_numba import NumbaSimilarity

        return NumbaSimilarity.apply(rendered, gt)  # type: ignore[no-any-return]
    return structural_similarity_torch(rendered, gt)


def structural_similarity_torch(
    rendered: Float[Tensor, "height width channels"], gt: Float[Tensor, "height width channels"]
) -> Float[Tensor, ""]:
    """`structural_similarity` in torch, on any device and in any precision: the reference.

    The blur is two passes of one dimension. Autocast is off: variances are differences of nearly equal numbers, which
    half precision makes negative.
    """
    with torch.autocast(rendered.device.type, enabled=False):
        return _similarity(rendered, gt)


def _similarity(
    rendered: Float[Tensor, "height width channels"], gt: Float[Tensor, "height width channels"]
) -> Float[Tensor, ""]:
    channels = rendered.shape[-1]
    x, y = (image.permute(2, 0, 1) for image in (rendered, gt))
    stack = torch.cat([x, y, x * x, y * y, x * y])[None]
    taps = torch.exp(-((torch.arange(_TAPS, device=x.device) - _TAPS // 2) ** 2) / (2 * _SIGMA**2))
    taps = (taps / taps.sum()).to(stack)
    rows = taps.view(1, 1, 1, -1).expand(len(stack[0]), 1, 1, _TAPS)
    columns = taps.view(1, 1, -1, 1).expand(len(stack[0]), 1, _TAPS, 1)
    blurred = F.conv2d(stack, rows, padding=(0, _TAPS // 2), groups=len(stack[0]))
    blurred = F.conv2d(blurred, columns, padding=(_TAPS // 2, 0), groups=len(stack[0]))[0]
    mean_x, mean_y, square_x, square_y, product = blurred.split(channels)
    covariance = product - mean_x * mean_y
    variances = (square_x - mean_x * mean_x) + (square_y - mean_y * mean_y)
    top = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    bottom = (mean_x * mean_x + mean_y * mean_y + _C1) * (variances + _C2)
    return (top / bottom).mean()
