"""The memory-augmented refiner (Yi et al., arXiv 2002.10137) as a nerfstudio model.

It knows images, not rays: a camera's time names the frame of the clip whose rendering is refined, and the image is
the recording camera's, wherever the camera stands.
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
    """Weights of the losses."""

    def build(self) -> Refiner:
        """The refiner that this configuration describes."""
        return Refiner(self.network, self.losses)


class TrainStep(NamedTuple):
    """A step of training and its windows."""

    step: int
    batch: Batch


class MemoryGanModel(Model):
    """The refiner beside the clip as rendered, which is no part of its checkpoint."""

    config: MemoryGanModelConfig
    rendered: Tensor
    sequence_digest: Tensor
    rendered_by: Tensor
    rois: Tensor

    def populate_modules(self) -> None:
        """Build the refiner; note which clips and which portraits it is trained on, one after the other."""
        super().populate_modules()
        metadata = self.kwargs["metadata"]
        self.sequence: TalkingSequence = metadata["sequence"]
        self.refiner = self.config.build()
        self.conditioning = ConditioningTrack(self.sequence.track)
        self.register_buffer("rendered", metadata["rendered"], persistent=False)
        self._ddp_params_and_buffers_to_ignore = ["rendered"]  # the same in every process: not to be sent each step
        clips, rendered_by, rois = zip(*metadata["known"])
        self.register_buffer("sequence_digest", torch.cat([digest_tensor(digest) for digest in clips]))
        self.register_buffer("rendered_by", torch.cat([digest_tensor(digest) for digest in rendered_by]))
        self.register_buffer("areas", torch.tensor(rois))

    @property
    def roi(self) -> Roi:
        """What is refined of the clip's images."""
        return as_roi(self.rois[0])

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Generator and discriminator."""
        return self.refiner.param_groups()

    def forward(self, ray_bundle: Any) -> dict[str, Tensor]:
        """Losses of a `Turn`, which stands where others have rays, so that DistributedDataParallel goes round them."""
        return self.get_outputs(ray_bundle)

    def get_outputs(self, ray_bundle: Any) -> dict[str, Tensor]:
        """Losses of a `Turn`: even steps are the discriminator's, odd ones the generator's. Refuses rays."""
        if not isinstance(ray_bundle, TrainStep):
            raise NotImplementedError("the refiner renders whole images: get_outputs_for_camera")
        step, batch = ray_bundle
        return self.refiner.generator_losses(batch) if step % 2 else self.refiner.discriminator_losses(batch)

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Tensor]:
        """The frame that the camera's time names, refined; resized where the camera's size is another.

        `rgb`, `rendered` (as it was given), `painted` (what the generator drew), `mask` (how much of it is shown),
        `accumulation` (one) and `depth` (one, for the viewer), each (height, width, channels) in [0, 1].
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
        """Weighted absolute error of one held-out frame of the clip; `ground truth` (height, width, 3) in [0, 1]."""
        window = stack_windows(self.rendered, torch.tensor([frame], device=self.rendered.device))
        target = to_network((gt * 255).to(self.device)).permute(2, 0, 1)[None]
        return {"l1_loss": self.config.losses.l1 * F.l1_loss(self.refiner.refine(window, self.roi).output, target)}

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refuse: losses depend on the turn (`get_outputs`)."""
        raise NotImplementedError("the losses of the refiner belong to a turn: get_outputs")

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
