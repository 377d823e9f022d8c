"""Windows of three rendered frames, which the refiner gets: cut out of a whole video, or gathered from a stream."""

from __future__ import annotations

from collections import deque

import torch
from jaxtyping import Float, Int64, Real, UInt8
from torch import Tensor

WINDOW = 3
"""Frames in a window: the one to refine and the two before it (Yi et al. 2020). No later frame, so no delay."""


def window_frames(frames: Int64[Tensor, " batch"]) -> Int64[Tensor, "batch 3"]:
    """Positions of the frames in each frame's window, oldest first; frame 0 stands in for those before it."""
    return (frames[:, None] + torch.arange(1 - WINDOW, 1, device=frames.device)).clamp_min(0)


def stack_windows(
    video: UInt8[Tensor, "frames height width 3"], frames: Int64[Tensor, " batch"]
) -> Float[Tensor, "batch 9 height width"]:
    """Windows of a video in [-1, 1], the channels of the oldest frame first."""
    chosen = video[window_frames(frames).to(video.device)]
    batch, count, height, width, channels = chosen.shape
    return to_network(chosen.permute(0, 1, 4, 2, 3).reshape(batch, count * channels, height, width))


def to_network(image: Real[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Scale levels in [0, 255] to the networks' range [-1, 1]."""
    return image.float() / 127.5 - 1


def to_unit(image: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Scale the networks' range [-1, 1] to [0, 1] and clamp to it."""
    return ((image + 1) / 2).clamp(0, 1)


class SlidingWindow:
    """The last three frames of a stream, in constant memory. The first frame stands in for those before it."""

    def __init__(self) -> None:
        self._frames: deque[Float[Tensor, "3 height width"]] = deque(maxlen=WINDOW)

    def push(self, frame: UInt8[Tensor, "height width 3"]) -> Float[Tensor, "1 9 height width"]:
        """Take the next frame and return its window in [-1, 1].

        Raises:
            ValueError: the frame has another size than those before it.
        """
        image = to_network(frame).permute(2, 0, 1)
        if self._frames and image.shape != self._frames[-1].shape:
            raise ValueError(f"frames of one video have one size, not {image.shape} after {self._frames[-1].shape}")
        for _ in range(1 if self._frames else WINDOW):
            self._frames.append(image)
        return torch.cat(list(self._frames))[None]
