"""One code per frame from audio windows: the audio network of AD-NeRF (Guo et al., ICCV 2021) and its successors."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

ATTENTION_FRAMES = 8
"""Number of frames in the temporal attention: i-4 ... i+3."""


def neighbour_frames(frames: Int64[Tensor, " frames"], num_frames: int) -> Int64[Tensor, "frames neighbours"]:
    """The frames i-4 ... i+3 around each frame, clamped to the track."""
    span = torch.arange(-ATTENTION_FRAMES // 2, ATTENTION_FRAMES // 2, device=frames.device)
    return (frames[:, None] + span).clamp(0, num_frames - 1)


class AudioEncoder(nn.Module):
    """A convolution stack over each frame's window, then attention over the codes of eight frames.

    Four convolutions of width 3 halve the window until one step is left; two linear layers give the frame's code;
    the attention network weights the codes of frames i-4 ... i+3.

    Args:
        in_channels: number of channels of the audio features.
        out_dim: length of the code (32 in ER-NeRF).
        dropout: dropout probability in training; without it the encoder overfits short clips.
        noise: standard deviation of the noise added to the (normalised) features in training.
    """

    def __init__(self, in_channels: int, out_dim: int = 32, dropout: float = 0.0, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        widths = [in_channels, 32, 32, 64, 64]
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.02), nn.Linear(64, out_dim))
        widths = [out_dim, 16, 8, 4, 2, 1]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv1d(a, b, 3, padding=1), nn.LeakyReLU(0.02)]
        self.attention = nn.Sequential(*layers, nn.Flatten(), nn.Linear(ATTENTION_FRAMES, ATTENTION_FRAMES))
        self.activation = nn.LeakyReLU(0.02)

    def forward(self, windows: Float[Tensor, "frames neighbours window channels"]) -> Float[Tensor, "frames out"]:
        """The code of each frame from its own window and its neighbours'."""
        num_frames, num_neighbours = windows.shape[:2]
        x = windows.flatten(0, 1).transpose(1, 2)  # (F*8, C, W)
        if self.training and self.noise > 0:
            x = x + self.noise * torch.randn_like(x)
        for conv in self.convs:
            x = self.activation(conv(x))
            # windows shorter than sixteen steps (HuBERT has two, AVE one) reach one step before the last convolution
            x = x[..., ::2] if x.shape[-1] > 1 else x
        x = self.head(self.dropout(x.mean(-1))).view(num_frames, num_neighbours, -1)
        weights = torch.softmax(self.attention(x.transpose(1, 2)), dim=-1)  # (F, 8)
        return (weights[..., None] * x).sum(1)
