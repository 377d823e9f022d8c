"""Motion-compensated averaging of the frames in a window, before they are refined.

A rendering shimmers, since every frame is told of a little another mouth, and what is sharpened shimmers more. The
earlier frames of the window are carried along the optical flow to where the last one shows the same, and averaged with
it where they agree (motion-compensated temporal filtering, Dubois & Sabri 1984).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from nerfstudio_talking.media.optical_flow import flow_field, warp
from nerfstudio_talking.refiner.frame_window import WINDOW, to_network, to_unit


@torch.no_grad()
def steadied(window: Float[Tensor, "batch 9 height width"], tolerance: float) -> Float[Tensor, "batch 9 height width"]:
    """Windows whose last frame is averaged with the earlier ones, carried to where it shows the same.

    An earlier frame counts exp(-d / tolerance) against 1, d being by how much its pixel differs, the mean over colours.

    Args:
        window: in [-1, 1], oldest frame first.
        tolerance: levels of 255; 0 gives the windows as they are.
    """
    if tolerance == 0:
        return window
    frames = 255 * to_unit(window).unflatten(1, (WINDOW, 3)).permute(0, 1, 3, 4, 2)
    steady = np.stack([averaged(aligned(one), tolerance) for one in frames.cpu().numpy()])
    last = to_network(torch.from_numpy(steady).to(window).permute(0, 3, 1, 2))
    return torch.cat([window[:, :-3], last], dim=1)


def aligned(frames: Float32[np.ndarray, "frames height width 3"]) -> Float32[np.ndarray, "frames height width 3"]:
    """Frames carried along the motion to where the last one shows the same; levels of 255, oldest first."""
    seen = frames.round().astype(np.uint8)
    moved = [warp(frame, flow_field(seen[-1], old), cubic=True) for frame, old in zip(frames[:-1], seen)]
    return np.stack([*moved, frames[-1]])


def averaged(
    frames: Float32[np.ndarray, "frames height width 3"], tolerance: float
) -> Float32[np.ndarray, "height width 3"]:
    """The last of some aligned frames averaged with the others as `steadied` says; levels of 255, oldest first."""
    counts = np.exp(-np.abs(frames - frames[-1]).mean(-1, keepdims=True) / np.float32(tolerance))
    return (counts * frames).sum(0) / counts.sum(0)
