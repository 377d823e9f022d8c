"""Losses of portraits: functions of what was rendered and of what the frames show.

Each is a mean over its rays, so that a loss weight means the same for every number of rays.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.weights import find_weights
from nerfstudio_talking.metrics.functional.images import lpips_loss
from nerfstudio_talking.metrics.functional.networks import ALEXNET_FILES, lpips_network

_MARGIN = 1e-4
"""Distance that opacities keep from 0 and 1, where logarithms end."""


def squared_error(rgb: Float[Tensor, "rays 3"], gt: Float[Tensor, "rays 3"]) -> Float[Tensor, " rays"]:
    """Mean square error of each ray's colour."""
    return (rgb - gt).square().mean(-1)


def weighted_mean(values: Float[Tensor, " rays"], weights: Float[Tensor, " rays"] | None) -> Float[Tensor, ""]:
    """Mean over rays of values times weights; the plain mean without weights."""
    return (values if weights is None else weights * values).mean()


def background_weights(
    parsing: Int64[Tensor, " rays"], oversampling: Float[Tensor, " classes"], background: int
) -> Float[Tensor, " rays"]:
    """Weights that make rays of the background count as if they were drawn uniformly; one for all other classes.

    A ray of the background teaches a volume to be empty there. Drawn more seldom than its pixels, it loses against
    the rays of hair and skin beside it, and the person swells over the silhouette.

    Args:
        parsing: class id of each ray.
        oversampling: frequency of each class among the rays over its frequency among the pixels.
        background: class id of the background.
    """
    return torch.where(parsing == background, 1 / oversampling[background], 1.0)


def opacity_entropy(opacity: Float[Tensor, " rays"]) -> Float[Tensor, ""]:
    """Mean binary entropy of opacities in nats: least where every ray is opaque or empty."""
    p = _inside(opacity)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean()


def opacity_loss(
    opacity: Float[Tensor, " rays"],
    occupied: Bool[Tensor, " rays"],
    weights: Float[Tensor, " rays"] | None = None,
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of opacities in nats.

    Args:
        opacity: opacity of a layer along each ray, in [0, 1].
        occupied: whether the layer is seen there.
        weights: weight of each ray.
    """
    return _cross_entropy(_inside(opacity), occupied, weights)


def layer_opacity_loss(
    head: Float[Tensor, " rays"],
    torso: Float[Tensor, " rays"],
    is_head: Bool[Tensor, " rays"],
    is_torso: Bool[Tensor, " rays"],
) -> Float[Tensor, ""]:
    """Sum of the opacity losses of a head and of the torso behind it.

    The torso counts beside the head only: parsing does not say whether it goes on behind.

    Args:
        head: opacity of the head along each ray.
        torso: opacity of the torso along each ray.
        is_head: whether parsing shows the head there.
        is_torso: whether parsing shows the torso there.
    """
    beside = _cross_entropy(_inside(torso), is_torso, reduction="none")[~is_head].mean()
    return opacity_loss(head, is_head) + beside.nan_to_num()


def body_share_loss(
    body: Float[Tensor, " rays"],
    opacity: Float[Tensor, " rays"],
    is_head: Bool[Tensor, " rays"],
    is_cloth: Bool[Tensor, " rays"],
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of the share of the body in what a ray shows: none on the head, all on the clothes.

    Rays on neither, and those that show little, do not count; zero where none counts.

    Args:
        body: body share along each ray, weighted by its samples' rendering weights.
        opacity: sum of those weights.
        is_head: whether parsing shows the head there.
        is_cloth: whether parsing shows clothes there.
    """
    opacity = _inside(opacity.detach())
    counted = (is_head | is_cloth) & (opacity > 0.3)
    if not counted.any():
        return body.sum() * 0.0
    return _cross_entropy(_inside(body / opacity)[counted], is_cloth[counted])


def parsing_cross_entropy(
    logits: Float[Tensor, "rays classes"],
    parsing: Int64[Tensor, " rays"],
    oversampling: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of parsing labels in nats.

    With the logarithm of `oversampling` added in training, the logits alone are those of uniformly drawn pixels (Menon
    et al., Long-tail learning via logit adjustment, ICLR 2021).

    Args:
        logits: rendered logits.
        parsing: class id of each ray.
        oversampling: frequency of each class among the rays over its frequency among the pixels.
    """
    if oversampling is not None:
        logits = logits + oversampling.log().to(logits)
    return F.cross_entropy(logits, parsing)


def mean_class_errors(
    running: Float[Tensor, " classes"], errors: Float[Tensor, " rays"], parsing: Int64[Tensor, " rays"], decay: float
) -> Float[Tensor, " classes"]:
    """Running mean of the error of each parsing class after another batch; classes without a ray keep theirs.

    Args:
        running: running means so far.
        errors: error of each ray.
        parsing: class id of each ray.
        decay: share of the old mean in the new one.
    """
    classes = len(running)
    count = torch.bincount(parsing, minlength=classes)[:classes]
    mean = torch.zeros_like(running).index_add_(0, parsing, errors.to(running.dtype)) / count.clamp_min(1)
    return torch.where(count > 0, decay * running + (1 - decay) * mean, running)


def rays_to_patches(values: Float[Tensor, "rays 3"], side: int) -> Float[Tensor, "patches 3 side side"]:
    """Colours of rays that were drawn as square patches, row by row, as images."""
    return values.view(-1, side, side, 3).permute(0, 3, 1, 2)


def patch_loss(
    rendered: Float[Tensor, "patches 3 side side"],
    gt: Float[Tensor, "patches 3 side side"],
    network: nn.Module | None,
) -> Float[Tensor, ""]:
    """Mean LPIPS of patches in [0, 1], or 1 - SSIM without a network.

    SSIM (Wang et al. 2004) looks through Gaussian windows of 9 pixels, sigma 1; beyond the border images are mirrored.
    Autocast is off for it: variances are differences of nearly equal numbers, which half precision makes negative.
    """
    if network is not None:
        return lpips_loss(rendered, gt, network)
    with torch.autocast(rendered.device.type, enabled=False):
        ssim = structural_similarity_index_measure(rendered.float(), gt.float(), data_range=1.0, sigma=1.0)
    return 1 - ssim  # type: ignore[operator]


class LpipsNetwork:
    """AlexNet for LPIPS, looked for once. It is no part of a model, so that checkpoints stay without it.

    Args:
        weights: torchvision's AlexNet; the torch cache is searched where None.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self.weights = weights
        self._network: nn.Module | None = None
        self._is_loaded = False

    def on(self, device: torch.device) -> nn.Module | None:
        """The network on a device; None where no weights are found. The first call says which.

        Raises:
            TalkingError: the given file of weights is missing or is another network's.
        """
        if not self._is_loaded:
            path = find_weights(self.weights, ALEXNET_FILES)
            self._network = None if path is None else lpips_network(path).to(device).requires_grad_(False)
            self._is_loaded = True
            CONSOLE.print(
                "Lips are compared without LPIPS: no weights." if path is None else "Lips are compared by LPIPS."
            )
        return self._network


def _inside(opacity: Float[Tensor, " rays"]) -> Float[Tensor, " rays"]:
    return opacity.clamp(_MARGIN, 1 - _MARGIN)


def _cross_entropy(
    probability: Float[Tensor, " rays"],
    target: Bool[Tensor, " rays"],
    weights: Float[Tensor, " rays"] | None = None,
    reduction: str = "mean",
) -> Tensor:
    # torch refuses it under CUDA's autocast, which trains with half precision
    with torch.autocast(probability.device.type, enabled=False):
        return F.binary_cross_entropy(probability.float(), target.float(), weights, reduction=reduction)
