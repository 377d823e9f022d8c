"""A method of one's own: an image that audio makes brighter or darker, over the recorded background.

NERFSTUDIO_METHOD_CONFIGS="glow=add_method:glow" ns-train glow --data data/me --vis tensorboard
In a package the same name stands under [project.entry-points."nerfstudio.method_configs"].
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
    """Options; each gets its `--help` text from the line below it."""

    _target: type = field(default_factory=lambda: Glow)
    strength: float = 0.1
    """How far audio changes the brightness."""

    def learning_rates(self):
        """Initial learning rate of each parameter group."""
        return {**super().learning_rates(), "image": 1e-2}


class Glow(PortraitModel):
    """Evaluation, driving, serving and scores come from `PortraitModel`; this class renders."""

    def populate_modules(self):
        """Build what is trained."""
        super().populate_modules()
        self.rgba = torch.nn.Parameter(torch.zeros(self.track.height, self.track.width, 4))
        self.gain = torch.nn.Parameter(torch.zeros(self.condition_dims["audio"]))

    def get_param_groups(self):
        """Parameters by the names of the learning rates."""
        return {**super().get_param_groups(), "image": [self.rgba, self.gain]}

    def get_outputs(self, camera):
        """Colour, opacity and depth of one camera, whose time says which frame is shown."""
        frames, row = self.frames_of(camera.times, len(camera))
        condition = self.frame_condition(frames)
        brightness = 1 + self.config.strength * torch.tanh(condition.audio[row[0]] @ self.gain)
        rgba = torch.sigmoid(self.rgba)
        color, alpha = brightness * rgba[..., :3], rgba[..., 3:]
        rgb = alpha * color + (1 - alpha) * self.background_image(camera, condition.poses[row[0]])
        return {"rgb": rgb, "accumulation": alpha, "depth": torch.full_like(alpha, self.plane_distance)}


datamanager = FullImageDataManagerConfig(dataparser=TalkingPortraitDataParserConfig())
glow = MethodSpecification(portrait_trainer("glow", 500, GlowConfig(), datamanager), "An image that glows under audio.")
