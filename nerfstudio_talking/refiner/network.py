"""The refiner as one module: generator, discriminator, key encoder and memory, and what each turn of training does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import Parameter

from nerfstudio_talking.refiner.discriminator import PatchDiscriminator
from nerfstudio_talking.refiner.frame_window import SlidingWindow, to_unit
from nerfstudio_talking.refiner.generator import AttentionUNet, RefinedFrames
from nerfstudio_talking.refiner.losses import (
    LossWeights,
    adversarial_loss,
    dissimilarity,
    local_detail,
    variation,
    weighted_error,
)
from nerfstudio_talking.refiner.memory import IdentityMemory, KeyEncoder
from nerfstudio_talking.refiner.roi import WHOLE, Roi, paste_back, roi_pixels
from nerfstudio_talking.refiner.steadying import steadied


@dataclass(frozen=True)
class RefinerSettings:
    """Sizes of the networks; the defaults are the published ones."""

    width: int = 64
    """Channels of the generator's and the discriminator's first level."""
    levels: int = 8
    """Halvings of the generator."""
    patch_layers: int = 3
    """Halvings of the discriminator: 3 judges patches of 70 pixels."""
    identity_dim: int = 512
    """Channels of the identity feature; ArcFace gives 512."""
    memory_slots: int = 30_000
    """Capacity of the memory; 0 leaves it out, and the generator knows of no identity."""
    key_dim: int = 512
    """Channels of the memory's keys."""
    key_width: int = 64
    """Channels of the key encoder's first stage; 64 is ResNet-18."""
    neighbours: int = 256
    """Slots that the triplet loss looks through."""
    threshold: float = 0.98
    """Cosine from which two identity features are one identity."""
    margin: float = 0.3
    """Of the triplet loss."""
    age_noise: float = 4.0
    """Noise on the ages when the oldest slot is sought."""
    steady: float = 0.0
    """Levels of 255 by which earlier frames of a window, carried along the motion, may differ from the one to refine
    and be averaged into it (`steadying.steadied`); 0, as published, leaves it as it is."""

    @property
    def style_dim(self) -> int:
        """Channels that the generator is told of an identity: one, always zero, without a memory."""
        return self.identity_dim if self.memory_slots else 1


class Batch(NamedTuple):
    """Windows to refine with their ground truth, on one device."""

    window: Float[Tensor, "batch 9 height width"]
    """Rendered, in [-1, 1], oldest frame first."""
    gt: Float[Tensor, "batch 3 height width"]
    """The true last frame, in [-1, 1]."""
    identity: Float[Tensor, "batch identity"]
    """Its identity feature."""
    mouth: Float[Tensor, "batch 1 height width"]
    """1 in the box of the mouth, 0 outside."""


class Refiner(nn.Module):
    """What is trained and what refines.

    Training alternates: a turn of the discriminator (`discriminator_losses`) touches no other parameter, a turn of the
    generator (`generator_losses`) none of the discriminator's; their gradients are left at None. In training the
    generator is told the true identity feature; in use it gets the one that the memory finds for the rendered frame.
    """

    def __init__(self, settings: RefinerSettings, weights: LossWeights | None = None) -> None:
        super().__init__()
        self.settings, self.weights = settings, weights or LossWeights()
        self.generator = AttentionUNet(settings.width, settings.levels, settings.style_dim)
        self.discriminator = PatchDiscriminator(settings.width, settings.patch_layers)
        self.memory: IdentityMemory | None = None
        self.key_encoder: KeyEncoder | None = None
        if settings.memory_slots > 0:
            self.key_encoder = KeyEncoder(settings.key_dim, settings.key_width)
            self.memory = IdentityMemory(
                settings.memory_slots,
                settings.key_dim,
                settings.identity_dim,
                settings.neighbours,
                settings.threshold,
                settings.margin,
                settings.age_noise,
            )

    def param_groups(self) -> dict[str, list[Parameter]]:
        """Parameters of either side; the key encoder goes with the generator."""
        keys = [] if self.key_encoder is None else list(self.key_encoder.parameters())
        return {
            "generator": [*self.generator.parameters(), *keys],
            "discriminator": list(self.discriminator.parameters()),
        }

    def identity_of(self, window: Float[Tensor, "batch 9 height width"]) -> Float[Tensor, "batch identity"]:
        """The identity feature that the memory finds for the last frame of windows; zeros without a memory."""
        if self.memory is None or self.key_encoder is None:
            return window.new_zeros(len(window), self.settings.style_dim)
        return self.memory.retrieve(self.key_encoder(window[:, -3:]))

    def refine(
        self,
        window: Float[Tensor, "batch 9 height width"],
        roi: Roi = WHOLE,
        identity: Callable[[Tensor], Tensor] | None = None,
    ) -> RefinedFrames:
        """Refine the last frame of windows in an area of the image.

        Args:
            window: in [-1, 1], oldest frame first.
            area: what is refined.
            identity: of the windows' parts in the area; what the memory finds where not given.
        """
        rows, columns = roi_pixels(roi, *window.shape[-2:])
        part = self._steadied(window[..., rows, columns])
        told = (identity or self.identity_of)(part)
        return paste_back(self.generator(part, told), window[:, -3:], roi)

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of the discriminator's turn."""
        self._set_requires_grad("discriminator")
        window = self._steadied(batch.window)
        with torch.no_grad():
            made = self.generator(window, self._style(batch, window)).output
        real = adversarial_loss(self.discriminator(window, batch.gt), True)
        false = adversarial_loss(self.discriminator(window, made), False)
        return {"discriminator_loss": (real + false) / 2}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of the generator's turn, weighted; the memory takes in what was seen.

        Where the flicker counts, every other window of the batch is that of the frame after the one before it.
        """
        self._set_requires_grad("generator")
        weights, window = self.weights, self._steadied(batch.window)
        refined = self.generator(window, self._style(batch, window))
        judged = self.discriminator(window, refined.output)
        counts = 1 + (weights.mouth - 1) * batch.mouth
        losses = {
            "adversarial_loss": weights.gan * adversarial_loss(judged, True),
            "l1_loss": weights.l1 * weighted_error(refined.output, batch.gt, counts),
            "mask_loss": weights.mask * (1 - refined.mask).mean(),
            "mask_variation_loss": weights.mask_variation * variation(refined.mask),
        }
        if weights.detail > 0:
            detail = [local_detail(image) for image in (refined.output, batch.gt)]
            losses["detail_loss"] = weights.detail * weighted_error(detail[0], detail[1], counts)
        if weights.flicker > 0:
            changes = [image[1::2] - image[::2] for image in (refined.output, batch.gt)]
            losses["flicker_loss"] = weights.flicker * weighted_error(changes[0], changes[1], counts[1::2])
        if weights.ssim > 0:
            losses["ssim_loss"] = weights.ssim * dissimilarity(refined.output, batch.gt, counts)
        if self.memory is not None and self.key_encoder is not None:
            key = self.key_encoder(window[:, -3:])
            losses["triplet_loss"] = weights.triplet * self.memory.triplet_loss(key, batch.identity)
            self.memory.update(key.detach(), batch.identity)
        return losses

    def _style(self, batch: Batch, window: Tensor) -> Tensor:
        return batch.identity if self.memory is not None else self.identity_of(window)

    def _steadied(self, window: Tensor) -> Tensor:
        return steadied(window, self.settings.steady)

    def _set_requires_grad(self, turn: str) -> None:
        """Only the side whose turn it is gathers gradients: what has none is left alone by its optimiser."""
        for name, parameters in self.param_groups().items():
            for parameter in parameters:
                parameter.requires_grad_(name == turn)


class StreamRefiner:
    """Refines a video frame by frame, in constant memory and without delay.

    A video shows one person: the generator is told the mean direction of all features that the memory has found so far,
    since a feature that jumps from slot to slot makes the image flicker.

    Args:
        refiner: the networks.
        area: of the image that is refined.
    """

    def __init__(self, refiner: Refiner, roi: Roi = WHOLE) -> None:
        self.refiner, self.roi = refiner.eval(), roi
        self.begin()

    def begin(self) -> None:
        """Another video."""
        self._window = SlidingWindow()
        self._found: Tensor | float = 0.0

    def to(self, device: torch.device | str) -> StreamRefiner:
        """Refine on a device."""
        self.refiner.to(device)
        return self

    @torch.no_grad()
    def __call__(self, frame: UInt8[Tensor, "height width 3"]) -> UInt8[Tensor, "height width 3"]:
        """The next frame, refined; on the frame's device."""
        device = next(self.refiner.generator.parameters()).device
        refined = self.refiner.refine(self._window.push(frame.to(device)), self.roi, self._identity).output[0]
        return (to_unit(refined).permute(1, 2, 0) * 255).round().to(torch.uint8).to(frame.device)

    def _identity(self, window: Tensor) -> Tensor:
        self._found = self._found + self.refiner.identity_of(window)
        return F.normalize(self._found, dim=1)
