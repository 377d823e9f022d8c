"""Audio to expression and head pose: convolutions over each frame's cepstral patch, an LSTM over 16 frames.

After Yi et al. 2020 (arXiv 2002.10137, section 3.1), written from the paper. Widths are small enough for two CPU cores
by default; `PAPER_WIDTHS` are the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_talking.motion.audio_features import COEFFICIENTS, WINDOW

SEQUENCE = 16
"""Frames the LSTM sees at once."""
_HOP, _SETTLE = 4, 4
"""Frames between overlapping sequences, and frames after which an LSTM that started from nothing is trusted."""


@dataclass
class MotionNetworkConfig:
    """Widths of the network; the defaults suit a CPU."""

    widths: tuple[int, int, int, int] = (16, 24, 32, 48)
    """Channels of the convolutions: first, second, third and fourth, fifth."""
    features: int = 64
    """Numbers per frame that the convolutions hand to the LSTM."""
    hidden: int = 64
    """Width of the LSTM."""
    layers: int = 1
    """Layers of the LSTM."""
    dropout: float = 0.3
    """Dropout before and after the LSTM."""


PAPER_WIDTHS = MotionNetworkConfig((64, 128, 256, 512), 256, 256, 3, 0.0)


@dataclass
class MotionLossWeights:
    """Weights of the terms; the last two are the paper's penalties on changes, the two before them are ours."""

    pose: float = 0.2
    expression_change: float = 0.5
    pose_change: float = 0.1
    pose_restlessness: float = 0.01
    expression_restlessness: float = 1e-4


class MotionNetwork(nn.Module):
    """Cepstral patches of 16 frames to coefficients of the expression and a pose, both on a unit scale."""

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
        """Expression coefficients, then six pose numbers."""
        batch, time = patches.shape[:2]
        features = self.frame(patches.flatten(0, 1)[:, None]).view(batch, time, -1)
        return self.head(self.lstm(features)[0])

    @torch.no_grad()
    def predict(self, patches: Float[Tensor, "frames 28 12"]) -> Float[Tensor, "frames outputs"]:
        """The whole of an audio, however long: overlapping sequences of 16 frames, cross-faded.

        No state is carried further than a sequence, so nothing can drift. Switches to evaluation mode.
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
        target: what was tracked.
        importance: weight of each coefficient in the expression's error, of mean 1.
        weights: weights of the terms.
    """
    count = len(importance)
    error, change, true_change = predicted - target, predicted.diff(dim=1), target.diff(dim=1)
    change_error = change - true_change
    return {
        "expression": (importance * error[..., :count] ** 2).mean(),
        "pose": weights.pose * (error[..., count:] ** 2).mean(),
        "expression_change": weights.expression_change * (importance * change_error[..., :count] ** 2).mean(),
        "pose_change": weights.pose_change * (change_error[..., count:] ** 2).mean(),
        "restlessness": weights.pose_restlessness * (change[..., count:] ** 2).mean()
        + weights.expression_restlessness * (change[..., :count] ** 2).mean(),
    }


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def noisy(patches: Float[Tensor, "batch time 28 12"], amount: float, generator: torch.Generator) -> Tensor:
    """Patches as another microphone would give them: a steady tilt per sequence, and a little noise."""
    shape = (len(patches), 1, 1, patches.shape[3])
    tilt = torch.randn(shape, generator=generator)
    gain = torch.randn(shape, generator=generator)
    grain = torch.randn(patches.shape, generator=generator)
    return patches * (1 + 0.1 * amount * gain) + amount * (0.3 * tilt + 0.2 * grain)
