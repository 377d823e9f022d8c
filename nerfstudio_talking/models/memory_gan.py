"""The memory-augmented refiner (Yi et al., arXiv 2002.10137) as a nerfstudio model.

It refines images and knows no space: the time of a camera selects the frame of the sequence, and the output shows the
view of the recording camera, wherever the given camera stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor
from torch.nn import Parameter

from nerfstudio_talking.dataset_io.sequence import TalkingSequence
from nerfstudio_talking.field_components.conditioning import ConditioningTrack
from nerfstudio_talking.io.digests import digest_tensor
from nerfstudio_talking.metrics.functional.images import psnr, quantize, ssim
from nerfstudio_talking.refiner.frame_window import stack_windows, to_network, to_unit
from nerfstudio_talking.refiner.losses import LossWeights
from nerfstudio_talking.refiner.network import Batch, Refiner, RefinerSettings
from nerfstudio_talking.refiner.roi import Roi, as_roi


@dataclass
class MemoryGanModelConfig(ModelConfig):
    """Options of the refiner; the defaults are the published ones."""

    _target: type = field(default_factory=lambda: MemoryGanModel)
    """Target class to instantiate."""
    network: RefinerSettings = field(default_factory=RefinerSettings)
    """Sizes of the networks and of the memory."""
    losses: LossWeights = field(default_factory=LossWeights)
    """Weights of the training losses."""

    def build(self) -> Refiner:
        """The refiner that this configuration describes."""
        return Refiner(self.network, self.losses)


class TrainStep(NamedTuple):
    """What the model gets in training, in place of rays."""

    step: int
    """Number of the training step: even for the discriminator, odd for the generator."""
    batch: Batch
    """Windows with their ground truth."""


class MemoryGanModel(Model):
    """The refiner, with the rendered frames of the sequence, which are not part of its checkpoints."""

    config: MemoryGanModelConfig
    rendered: Tensor
    sequence_digest: Tensor
    rendered_by: Tensor
    rois: Tensor

    def populate_modules(self) -> None:
        """Build the refiner; keep digest, renderer and region of every sequence that it is trained on."""
        super().populate_modules()
        metadata = self.kwargs["metadata"]
        self.sequence: TalkingSequence = metadata["sequence"]
        self.refiner = self.config.build()
        self.conditioning = ConditioningTrack(self.sequence.track)
        self.register_buffer("rendered", metadata["rendered"], persistent=False)
        self._ddp_params_and_buffers_to_ignore = ["rendered"]  # the same in every process: not to be sent in each step
        sequences, rendered_by, rois = zip(*metadata["known"])
        self.register_buffer("sequence_digest", torch.cat([digest_tensor(digest) for digest in sequences]))
        self.register_buffer("rendered_by", torch.cat([digest_tensor(digest) for digest in rendered_by]))
        self.register_buffer("rois", torch.tensor(rois))

    @property
    def roi(self) -> Roi:
        """The region of the sequence's frames that is refined."""
        return as_roi(self.rois[0])

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Parameters of `generator` and `discriminator`."""
        return self.refiner.param_groups()

    def forward(self, ray_bundle: TrainStep) -> dict[str, Tensor]:  # type: ignore[override]
        """Losses of a training step: even steps are the discriminator's, odd ones the generator's.

        They are computed here so that DistributedDataParallel, which wraps this method, synchronises their gradients.

        Args:
            ray_bundle: the step and its batch, where nerfstudio's other models get rays.
        """
        step, batch = ray_bundle
        return self.refiner.generator_losses(batch) if step % 2 else self.refiner.discriminator_losses(batch)

    def get_outputs(self, ray_bundle: Any) -> dict[str, Tensor]:
        """Not supported: the refiner has no rays; use `get_outputs_for_camera`."""
        raise NotImplementedError("the refiner renders whole images: get_outputs_for_camera")

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Tensor]:
        """The refined frame at the camera's time, resized to the camera's size.

        Returns:
            `rgb`, `rendered` (the frame before refinement), `painted` (the generator's image), `mask` (its share in
            `rgb`), `accumulation` and `depth` (ones, for the viewer), each (height, width, channels) in [0, 1].
        """
        frames, _ = self.conditioning.frames_of(camera.times, 1)
        window = stack_windows(self.rendered, frames[:1].to(self.rendered.device))
        was_training = self.refiner.training
        refined = self.refiner.eval().refine(window, self.roi)
        self.refiner.train(was_training)
        size = (int(camera.height.flatten()[0]), int(camera.width.flatten()[0]))
        images = {
            "rgb": to_unit(refined.output),
            "rendered": to_unit(window[:, -3:]),
            "painted": to_unit(refined.painted),
            "mask": refined.mask,
        }
        outputs = {}
        for name, image in images.items():
            if image.shape[-2:] != size:
                image = F.interpolate(image, size, mode="bilinear", align_corners=False)
            outputs[name] = image[0].permute(1, 2, 0).to(camera.device)
        ones = torch.ones_like(outputs["mask"])
        return {**outputs, "accumulation": ones, "depth": ones}

    def eval_losses(self, frame: int, gt: Tensor) -> dict[str, Tensor]:
        """Weighted absolute error of one held-out frame.

        Args:
            frame: position of the frame in the sequence.
            gt: its ground truth, (height, width, 3) in [0, 1].
        """
        window = stack_windows(self.rendered, torch.tensor([frame], device=self.rendered.device))
        target = to_network((gt * 255).to(self.device)).permute(2, 0, 1)[None]
        return {"l1_loss": self.config.losses.l1 * F.l1_loss(self.refiner.refine(window, self.roi).output, target)}

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Not supported: the losses depend on the training step; use `forward`."""
        raise NotImplementedError("the losses of the refiner depend on the training step: forward")

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """`psnr` and `ssim` of the refined frame as it would be written, of 256 levels, and, as `rendered_psnr` and
        `rendered_ssim`, of what it was made from."""
        image = batch["image"].to(self.device)[..., :3]
        metrics: dict[str, float] = {}
        for prefix, name in (("", "rgb"), ("rendered_", "rendered")):
            written = quantize(outputs[name].to(self.device))
            metrics[prefix + "psnr"] = psnr(written, image)
            metrics[prefix + "ssim"] = ssim(written, image)
        rows = [image, *(outputs[name].to(self.device) for name in ("rendered", "rgb"))]
        return metrics, {"img": torch.cat(rows, dim=1), "mask": outputs["mask"].expand(-1, -1, 3)}
