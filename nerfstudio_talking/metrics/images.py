"""How alike two images are: PSNR, SSIM, LPIPS of a whole frame or of a box in it; the networks of LPIPS and FID.

Nothing is downloaded here: weights come from a path or from the torch cache; where there are none the caller is told.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pytorch_msssim import ssim as gaussian_ssim
from torch import Tensor, nn

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.weights import load_state
from nerfstudio_talking.metrics.regions import Box, pixel_box

ALEXNET_FILES = ("alexnet-owt-7be5be79.pth",)
"""Torchvision's AlexNet in the torch cache (244 MB): what LPIPS looks through."""
INCEPTION_FILES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
"""TensorFlow's Inception as FID wants it (95 MB), under torch-fidelity's and pytorch-fid's name: one file."""
HIGHEST_PSNR = 100.0
"""Of identical images, in dB: a mean over frames stays finite."""
SMALLEST_BOX = 16
"""Pixels on a side: SSIM looks through windows of 11."""
_SMALLEST_LPIPS = 64
"""AlexNet strides by 16 in all; smaller images are enlarged."""


def psnr(rendered: Float[Tensor, "*pixels 3"], gt: Float[Tensor, "*pixels 3"]) -> float:
    """-10 log10 of the mean squared error of images in [0, 1], in dB; 100 where they are the same."""
    error = F.mse_loss(rendered.double(), gt.double())
    return float(-10 * torch.log10(error.clamp_min(10 ** (-HIGHEST_PSNR / 10))))


def ssim(rendered: Float[Tensor, "height width 3"], gt: Float[Tensor, "height width 3"]) -> float:
    """Structural similarity (Wang et al. 2004), mean over pixels and channels.

    Gaussian windows of 11 pixels, sigma 1.5, wholly inside the image. Implementations that pad the border, as
    torchmetrics and 3DGS do, differ in the third digit.
    """
    pair = [image.permute(2, 0, 1)[None].float() for image in (rendered, gt)]
    return float(gaussian_ssim(pair[0], pair[1], data_range=1.0))


def lpips_distance(
    rendered: Float[Tensor, "height width 3"], gt: Float[Tensor, "height width 3"], network: nn.Module
) -> float:
    """LPIPS (Zhang et al. 2018) of images in [0, 1]; those under 64 pixels on a side are enlarged bilinearly first.

    Args:
        rendered: an image.
        gt: another of the same size.
        network: from `lpips_network`.
    """
    pair = [image.permute(2, 0, 1)[None] for image in (rendered, gt)]
    with torch.no_grad():
        return float(lpips_loss(pair[0], pair[1], network))


def lpips_loss(
    rendered: Float[Tensor, "images 3 height width"],
    gt: Float[Tensor, "images 3 height width"],
    network: nn.Module,
) -> Float[Tensor, ""]:
    """Mean LPIPS of images in [0, 1], with gradients; small ones are enlarged as in `lpips_distance`."""
    pair = torch.cat([rendered, gt]).float()
    height, width = pair.shape[-2:]
    if min(height, width) < _SMALLEST_LPIPS:
        grow = _SMALLEST_LPIPS / min(height, width)
        size = (round(height * grow), round(width * grow))
        pair = F.interpolate(pair, size, mode="bilinear", align_corners=False)
    return network(*pair.chunk(2), normalize=True).mean()


def image_scores(
    rendered: Float[Tensor, "height width 3"],
    gt: Float[Tensor, "height width 3"],
    boxes: Mapping[str, Box | None],
    network: nn.Module | None = None,
) -> dict[str, float]:
    """`psnr`, `ssim` and, with a network, `lpips` of the frame, and of each box as `psnr_<name>` ...

    A box that is None, or outside the image, has no scores.

    Raises:
        ValueError: the images are not of one size.
    """
    if rendered.shape != gt.shape:
        raise ValueError(f"images of one size are compared, not {tuple(rendered.shape)} and {tuple(gt.shape)}")
    areas: dict[str, tuple[slice, slice] | None] = {"": (slice(None), slice(None))}
    for name, box in boxes.items():
        areas[f"_{name}"] = None if box is None else pixel_box(box, *gt.shape[:2], least=SMALLEST_BOX)
    scores = {}
    for name, area in areas.items():
        if area is None:
            continue
        a, b = rendered[area], gt[area]
        scores[f"psnr{name}"] = psnr(a, b)
        scores[f"ssim{name}"] = ssim(a, b)
        if network is not None:
            scores[f"lpips{name}"] = lpips_distance(a, b, network)
    return scores


def lpips_network(weights: Path) -> nn.Module:
    """LPIPS of AlexNet, version 0.1: the linear layers come with the package, AlexNet from a file of torchvision's.

    Raises:
        TalkingError: the file is not torchvision's AlexNet.
    """
    import lpips

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")  # lpips uses an old keyword
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = load_state(weights, "torchvision's AlexNet")
    for name, parameter in network.net.named_parameters():  # slice2.3.weight is features.3.weight
        key = "features." + name.split(".", 1)[1]
        if key not in state or state[key].shape != parameter.shape:
            raise TalkingError(
                weights,
                expected=f"torchvision's AlexNet with {key} of shape {tuple(parameter.shape)}",
                found="no such key" if key not in state else f"shape {tuple(state[key].shape)}",
                hint=f"Give {ALEXNET_FILES[0]} from torchvision.",
            )
        parameter.data.copy_(state[key])
    return network.eval()


def inception_network(weights: Path) -> nn.Module:
    """The 2048 features of FID's Inception (torch-fidelity's, equal to pytorch-fid's), for uint8 images.

    Raises:
        TalkingError: the file is not this network.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    load_state(weights, "FID's Inception")
    try:
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        hint = f"Give {INCEPTION_FILES[0]} from torch-fidelity."
        raise TalkingError(weights, expected="FID's Inception", found=reason, hint=hint) from error
    network.num_features = 2048  # type: ignore[assignment]
    return network
