"""A toy portrait that is rendered as a whole image: one model and one method configuration on `PortraitModel`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn

from nerfstudio_talking.data.full_image_datamanager import FullImageDataManagerConfig
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
from nerfstudio_talking.engine.trainer_config import TalkingTrainerConfig
from nerfstudio_talking.method_configs.trainer import portrait_trainer
from nerfstudio_talking.models.portrait_model import PortraitModel, PortraitModelConfig


@dataclass
class ImagePortraitConfig(PortraitModelConfig):
    _target: type = field(default_factory=lambda: ImagePortrait)

    def learning_rates(self) -> dict[str, float]:
        return {**super().learning_rates(), "images": 1e-2}


class ImagePortrait(PortraitModel):
    """Shows an image, brighter or darker by the audio condition, over the background."""

    config: ImagePortraitConfig

    def populate_modules(self) -> None:
        super().populate_modules()
        self.rgba = nn.Parameter(torch.zeros(self.track.height, self.track.width, 4))
        self.gain = nn.Parameter(torch.zeros(self.condition_dims["audio"]))

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {**super().get_param_groups(), "images": [self.rgba, self.gain]}

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:  # type: ignore[override]
        frames, row = self.frames_of(camera.times, len(camera))
        condition = self.frame_condition(frames)
        alpha, color = torch.sigmoid(self.rgba[..., 3:]), torch.sigmoid(self.rgba[..., :3])
        images = []
        for i in range(len(camera)):
            background = self.background_image(camera[i : i + 1], condition.poses[row[i]])
            brightness = 1 + 0.1 * torch.tanh(condition.audio[row[i]] @ self.gain)
            images.append(alpha * (brightness * color) + (1 - alpha) * background)
        rgb = images[0] if len(images) == 1 else torch.stack(images)
        return {"rgb": rgb, "accumulation": alpha, "depth": torch.full_like(alpha, self.plane_distance)}


def image_portrait_trainer(data: Path, folder: Path, steps: int, frames_per_step: int = 1) -> TalkingTrainerConfig:
    """The method configuration, for a run of some steps in a folder."""
    datamanager = FullImageDataManagerConfig(
        dataparser=TalkingPortraitDataParserConfig(data=data), data=data, frames_per_step=frames_per_step
    )
    config: Any = portrait_trainer("image-portrait", steps, ImagePortraitConfig(), datamanager)
    config.data, config.output_dir, config.experiment_name, config.timestamp = data, folder, "x", "t"
    config.machine.device_type, config.vis = "cpu", "tensorboard"
    config.steps_per_eval_batch, config.steps_per_eval_image = 2, 2
    return config
