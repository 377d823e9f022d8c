"""Audio to expression and head pose: convolutions over each frame's cepstral patch, an LSTM over 16 frames.

After Yi et al. 2020 (arXiv 2002.10137, section 3.1), written from the paper, with smaller widths, which suit two CPU
cores. The published network has widths 64, 128, 256 and 512, 256 features, and three LSTM layers of 256.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_talking.motion.audio_features import COEFFICIENTS, WINDOW

SEQUENCE = 16
"""Number of frames in a sequence of the LSTM."""
_HOP, _SETTLE = 4, 4
"""Frames between overlapping sequences; frames at the start of a sequence whose outputs are not used."""


@dataclass
class MotionNetworkConfig:
    """Widths of the network; the defaults suit a CPU."""

    widths: tuple[int, int, int, int] = (16, 24, 32, 48)
    """Channels of the convolutions: first, second, third and fourth, fifth."""
    features: int = 64
    """Number of features per frame between the convolutions and the LSTM."""
    hidden: int = 64
    """Width of the LSTM."""
    layers: int = 1
    """Number of layers of the LSTM."""
    dropout: float = 0.3
    """Dropout rate before and after the LSTM."""


@dataclass
class MotionLossWeights:
    """Weights of the loss terms. The smoothness terms are the paper's, those of changes are ours."""

    pose: float = 0.2
    """Weight of the squared error of the pose; that of the expression has weight 1."""
    expression_change: float = 0.5
    """Weight of the squared error of the expression's change from frame to frame."""
    pose_change: float = 0.1
    """Weight of the squared error of the pose's change from frame to frame."""
    pose_smoothness: float = 0.01
    """Weight of the squared change of the predicted pose from frame to frame."""
    expression_smoothness: float = 1e-4
    """Weight of the squared change of the predicted expression from frame to frame."""


class MotionNetwork(nn.Module):
    """Cepstral patches of 16 frames to expression coefficients and poses, both of unit variance."""

    def __init__(self, config: MotionNetworkConfig, expression: int) -> None:
        super().__init__()
        a, b, c, d = config.widths
        self.expression = expression
        self.frame = nn.Sequential(
            _convolution(1, a),
            _convolution(a, b),
            nn.MaxPool2d((1, 2)),
            _convolution(b, c),
            _convolution(c, c),
            _convolution(c, d),
            nn.MaxPool2d((4, 2)),
            nn.Flatten(),
            nn.Linear(d * (WINDOW // 4) * (COEFFICIENTS // 4), config.features),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )
        self.lstm = nn.LSTM(config.features, config.hidden, config.layers, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.hidden, expression + 6))

    def forward(self, patches: Float[Tensor, "batch time 28 12"]) -> Float[Tensor, "batch time outputs"]:
        """Expression coefficients, then six pose parameters."""
        batch, time = patches.shape[:2]
        features = self.frame(patches.flatten(0, 1)[:, None]).view(batch, time, -1)
        return self.head(self.lstm(features)[0])

    @torch.no_grad()
    def predict(self, patches: Float[Tensor, "frames 28 12"]) -> Float[Tensor, "frames outputs"]:
        """Predict for audio of any length: overlapping sequences of 16 frames, cross-faded.

        No state outlives a sequence, so the prediction cannot drift. Switches to evaluation mode.
        """
        self.eval()
        frames = len(patches)
        lead = SEQUENCE
        starts = torch.arange(0, frames + lead, _HOP)
        end = int(starts[-1]) + SEQUENCE
        padded = torch.cat(
            [patches[:1].expand(lead, -1, -1), patches, patches[-1:].expand(end - lead - frames, -1, -1)]
        )
        features = torch.cat([self.frame(part[:, None]) for part in padded.split(512)])
        windows = features.unfold(0, SEQUENCE, _HOP)[: len(starts)].transpose(1, 2)
        outputs = torch.cat([self.head(self.lstm(part)[0]) for part in windows.split(256)])
        fade = torch.zeros(SEQUENCE)
        fade[_SETTLE:] = torch.hann_window(SEQUENCE - _SETTLE + 2, periodic=False)[1:-1]
        total, weight = torch.zeros(end, outputs.shape[2]), torch.zeros(end)
        index = (starts[: len(outputs), None] + torch.arange(SEQUENCE)).flatten()
        total.index_add_(0, index, (outputs * fade[:, None]).flatten(0, 1))
        weight.index_add_(0, index, fade.repeat(len(outputs)))
        return (total / weight.clamp_min(1e-6)[:, None])[lead : lead + frames]


def motion_losses(
    predicted: Float[Tensor, "batch time outputs"],
    target: Float[Tensor, "batch time outputs"],
    importance: Float[Tensor, " expression"],
    weights: MotionLossWeights,
) -> dict[str, Tensor]:
    """Terms of the loss, weighted; their sum is what training minimises.

    Args:
        predicted: expression coefficients and pose over time.
        target: the tracked coefficients and poses.
        importance: weight of each coefficient in the expression's error, of mean 1.
        weights: weights of the terms.
    """
    count = len(importance)
    error, change = predicted - target, predicted.diff(dim=1)
    change_error = change - target.diff(dim=1)
    return {
        "expression": (importance * error[..., :count] ** 2).mean(),
        "pose": weights.pose * (error[..., count:] ** 2).mean(),
        "expression_change": weights.expression_change * (importance * change_error[..., :count] ** 2).mean(),
        "pose_change": weights.pose_change * (change_error[..., count:] ** 2).mean(),
        "smoothness": weights.pose_smoothness * (change[..., count:] ** 2).mean()
        + weights.expression_smoothness * (change[..., :count] ** 2).mean(),
    }


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def augment_patches(patches: Float[Tensor, "batch time 28 12"], amount: float, generator: torch.Generator) -> Tensor:
    """Augment patches as another microphone would: a constant tilt per sequence, and a little noise."""
    shape = (len(patches), 1, 1, patches.shape[3])
    tilt = torch.randn(shape, generator=generator)
    gain = torch.randn(shape, generator=generator)
    grain = torch.randn(patches.shape, generator=generator)
    return patches * (1 + 0.1 * amount * gain) + amount * (0.3 * tilt + 0.2 * grain)
