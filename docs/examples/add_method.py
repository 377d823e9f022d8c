"""A method of one's own: an image that audio makes brighter or darker, over the recorded background.

NERFSTUDIO_METHOD_CONFIGS="glow=add_method:glow" ns-train glow --data data/me --vis tensorboard
In a package the name stands under [project.entry-points."nerfstudio.method_configs"].
"""

from dataclasses import dataclass, field

import torch
from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_talking.data.full_image_datamanager import FullImageDataManagerConfig
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
from nerfstudio_talking.method_configs.trainer import portrait_trainer
from nerfstudio_talking.models.portrait_model import PortraitModel, PortraitModelConfig


@dataclass
class GlowConfig(PortraitModelConfig):
    """Options, and the learning rate of each parameter group."""

    _target: type = field(default_factory=lambda: Glow)

    def learning_rates(self):
        return {**super().learning_rates(), "image": 1e-2}


class Glow(PortraitModel):
    """Evaluation, viewer, driving, serving and scores come from `PortraitModel`; this class renders."""

    def populate_modules(self):
        super().populate_modules()
        self.rgba = torch.nn.Parameter(torch.zeros(self.track.height, self.track.width, 4))
        self.gain = torch.nn.Parameter(torch.zeros(self.condition_dims["audio"]))

    def get_param_groups(self):
        return {**super().get_param_groups(), "image": [self.rgba, self.gain]}

    def get_outputs(self, camera):  # its time says which frame is shown
        frames, row = self.frames_of(camera.times, len(camera))
        condition = self.frame_condition(frames)
        color, alpha = torch.sigmoid(self.rgba).split([3, 1], dim=-1)
        brightness = 1 + 0.1 * torch.tanh(condition.audio[row[0]] @ self.gain)
        rgb = alpha * brightness * color + (1 - alpha) * self.background_image(camera, condition.poses[row[0]])
        return {"rgb": rgb, "accumulation": alpha, "depth": torch.full_like(alpha, self.plane_distance)}


datamanager = FullImageDataManagerConfig(dataparser=TalkingPortraitDataParserConfig())
glow = MethodSpecification(portrait_trainer("glow", 500, GlowConfig(), datamanager), "An image that glows under audio.")
