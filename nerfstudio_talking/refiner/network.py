"""The refiner as one module: generator, discriminator, key encoder and memory, and the losses of a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import Parameter

from nerfstudio_talking.refiner.discriminator import PatchDiscriminator
from nerfstudio_talking.refiner.frame_window import SlidingWindow, to_unit
from nerfstudio_talking.refiner.generator import AttentionUNet, RefinedFrames
from nerfstudio_talking.refiner.losses import LossWeights, adversarial_loss, mask_variation_loss, ssim_loss
from nerfstudio_talking.refiner.memory import IdentityMemory, KeyEncoder
from nerfstudio_talking.refiner.roi import WHOLE, Roi, paste_back, roi_slices


@dataclass(frozen=True)
class RefinerSettings:
    """Sizes of the networks; the defaults are the published ones."""

    width: int = 64
    """Number of channels of the first level of generator and discriminator."""
    levels: int = 8
    """Number of times that the generator halves the image."""
    patch_layers: int = 3
    """Number of times that the discriminator halves the image; 3 judges patches of 70 pixels."""
    identity_dim: int = 512
    """Number of channels of an identity feature; ArcFace gives 512."""
    memory_slots: int = 30_000
    """Capacity of the identity memory; 0 leaves the memory out, and the generator gets no identity."""
    key_dim: int = 512
    """Number of channels of the memory's keys."""
    key_width: int = 64
    """Number of channels of the key encoder's first stage; 64 is ResNet-18."""
    neighbours: int = 256
    """Number of nearest slots among which the triplet loss looks for its positive and its negative."""
    threshold: float = 0.98
    """Cosine similarity above which two identity features count as one identity."""
    margin: float = 0.3
    """Margin of the triplet loss."""
    age_noise: float = 4.0
    """Upper bound of the random noise that is added to the ages when the oldest slot is overwritten."""

    @property
    def style_dim(self) -> int:
        """Size of the identity code that the generator gets; 1 (always zero) without a memory."""
        return self.identity_dim if self.memory_slots else 1


class Batch(NamedTuple):
    """Windows to refine with their ground truth, on one device."""

    window: Float[Tensor, "batch 9 height width"]
    """Three rendered frames, in [-1, 1], oldest first."""
    gt: Float[Tensor, "batch 3 height width"]
    """Ground truth of the last frame, in [-1, 1]."""
    identity: Float[Tensor, "batch identity"]
    """Identity feature of the ground truth."""


class Refiner(nn.Module):
    """The networks, with the losses that train them and the forward pass that refines.

    Training alternates between discriminator steps (`discriminator_losses`) and generator steps (`generator_losses`).
    Either method lets only its own side's parameters require gradients; those of the other side stay None. During
    training the generator gets the identity feature of the ground truth; afterwards it gets the one that the memory
    retrieves for the rendered frame.
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
        """Parameters of `generator` and `discriminator`; the key encoder is trained with the generator."""
        keys = [] if self.key_encoder is None else list(self.key_encoder.parameters())
        return {
            "generator": [*self.generator.parameters(), *keys],
            "discriminator": list(self.discriminator.parameters()),
        }

    def retrieve_identity(self, window: Float[Tensor, "batch 9 height width"]) -> Float[Tensor, "batch identity"]:
        """Identity feature that the memory retrieves for the last frame of each window; zeros without a memory."""
        if self.memory is None or self.key_encoder is None:
            return window.new_zeros(len(window), self.settings.style_dim)
        return self.memory.retrieve(self.key_encoder(window[:, -3:]))

    def refine(
        self,
        window: Float[Tensor, "batch 9 height width"],
        roi: Roi = WHOLE,
        identity: Callable[[Tensor], Tensor] | None = None,
    ) -> RefinedFrames:
        """Refine the last frame of windows inside a region of the image.

        Args:
            window: in [-1, 1], oldest frame first.
            roi: the region that is refined.
            identity: gives the identity features of windows cut to the region; `retrieve_identity` where None.
        """
        rows, columns = roi_slices(roi, *window.shape[-2:])
        crop = window[..., rows, columns]
        style = (identity or self.retrieve_identity)(crop)
        return paste_back(self.generator(crop, style), window[:, -3:], roi)

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a discriminator step."""
        self._set_requires_grad("discriminator")
        with torch.no_grad():
            refined = self.generator(batch.window, self._training_identity(batch)).output
        real = adversarial_loss(self.discriminator(batch.window, batch.gt), True)
        fake = adversarial_loss(self.discriminator(batch.window, refined), False)
        return {"discriminator_loss": (real + fake) / 2}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted losses of a generator step; also stores the batch in the memory."""
        self._set_requires_grad("generator")
        weights = self.weights
        refined = self.generator(batch.window, self._training_identity(batch))
        logits = self.discriminator(batch.window, refined.output)
        losses = {
            "adversarial_loss": weights.gan * adversarial_loss(logits, True),
            "l1_loss": weights.l1 * F.l1_loss(refined.output, batch.gt),
            "mask_loss": weights.mask * (1 - refined.mask).mean(),
            "mask_variation_loss": weights.mask_variation * mask_variation_loss(refined.mask),
        }
        if weights.ssim > 0:
            losses["ssim_loss"] = weights.ssim * ssim_loss(refined.output, batch.gt)
        if self.memory is not None and self.key_encoder is not None:
            key = self.key_encoder(batch.window[:, -3:])
            losses["triplet_loss"] = weights.triplet * self.memory.triplet_loss(key, batch.identity)
            self.memory.update(key.detach(), batch.identity)
        return losses

    def _training_identity(self, batch: Batch) -> Tensor:
        return batch.identity if self.memory is not None else self.retrieve_identity(batch.window)

    def _set_requires_grad(self, side: Literal["generator", "discriminator"]) -> None:
        """Let one side gather gradients: parameters without a gradient are skipped by their optimiser."""
        for name, parameters in self.param_groups().items():
            for parameter in parameters:
                parameter.requires_grad_(name == side)


class StreamRefiner:
    """Refines a video frame by frame, in constant memory and without delay.

    A video shows one person, so the generator gets the mean direction of all identity features that were retrieved
    since the start of the video: a feature that jumps from slot to slot would make the image flicker.

    Args:
        refiner: the trained networks.
        roi: the region of the image that is refined.
    """

    def __init__(self, refiner: Refiner, roi: Roi = WHOLE) -> None:
        self.refiner, self.roi = refiner.eval(), roi
        self.reset()

    def reset(self) -> None:
        """Start another video."""
        self._window = SlidingWindow()
        self._identity_sum: Tensor | float = 0.0

    def to(self, device: torch.device | str) -> StreamRefiner:
        """Move the networks to a device; returns itself."""
        self.refiner.to(device)
        return self

    @torch.no_grad()
    def __call__(self, frame: UInt8[Tensor, "height width 3"]) -> UInt8[Tensor, "height width 3"]:
        """Refine the next frame; the result is on the frame's device."""
        device = next(self.refiner.generator.parameters()).device
        refined = self.refiner.refine(self._window.push(frame.to(device)), self.roi, self._mean_identity).output[0]
        return (to_unit(refined).permute(1, 2, 0) * 255).round().to(torch.uint8).to(frame.device)

    def _mean_identity(self, window: Tensor) -> Tensor:
        self._identity_sum = self._identity_sum + self.refiner.retrieve_identity(window)
        return F.normalize(self._identity_sum, dim=1)
