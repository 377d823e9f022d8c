"""Losses between whole images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nerfstudio_talking.metrics.functional.images import lpips_loss

_TAPS, _SIGMA = 11, 1.5
_LIPS_WINDOW, _LEAST_WINDOW = 0.25, 32
"""Side of the window about the lips over the image's width, and its least length, pixels."""
_C1, _C2 = 0.01**2, 0.03**2


def weighted_absolute_error(
    rendered: Float[Tensor, "height width 3"],
    gt: Float[Tensor, "height width 3"],
    weights: Float[Tensor, "height width"],
) -> Float[Tensor, ""]:
    """Mean absolute error with a weight per pixel; the weights are not normalised."""
    return ((rendered - gt).abs().mean(-1) * weights).mean()


def window_about(region: Bool[Tensor, "height width"], side: int) -> tuple[slice, slice] | None:
    """Rows and columns of a square window about the middle of a region, moved into the image; None without a region.

    Args:
        region: pixels of the region.
        side: side of the window, pixels; the image's own where that is less.
    """
    found = region.nonzero()
    if not len(found):
        return None
    slices = []
    for middle, size in zip(found.float().mean(0).tolist(), region.shape):
        length = min(side, size)
        start = min(max(round(middle - length / 2), 0), size - length)
        slices.append(slice(start, start + length))
    return slices[0], slices[1]


def lips_loss(
    rendered: Float[Tensor, "images height width 3"],
    gt: Float[Tensor, "images height width 3"],
    lips: Bool[Tensor, "images height width"],
    network: nn.Module,
) -> Float[Tensor, ""]:
    """Mean LPIPS of square windows about the lips; 0 where none are seen.

    Args:
        rendered: colours in [0, 1].
        gt: ground truth.
        lips: pixels of lips and inner mouth.
        network: LPIPS.
    """
    side = max(round(_LIPS_WINDOW * lips.shape[2]), _LEAST_WINDOW)
    windows = [(i, window_about(region, side)) for i, region in enumerate(lips)]
    pairs = [(rendered[i][at], gt[i][at]) for i, at in windows if at is not None]
    if not pairs:
        return rendered.new_zeros(())
    ours, theirs = (torch.stack(images).permute(0, 3, 1, 2) for images in zip(*pairs))
    return lpips_loss(ours, theirs, network)


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
