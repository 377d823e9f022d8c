"""From a portrait's outputs to the image that fills the browser's canvas."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera

_LARGEST = 2
"""Longer side of a free view, of the recording's height."""
_SCALES = tuple(2 ** (-step / 4) for step in range(9))
"""Sizes of frames relative to the recording."""
_FORGETTING = 0.998
"""Factor per frame of what is known of the fixed part: another output, or a free camera, may cost otherwise."""
_HARDLY = 1.25
"""Time of a frame over that of the smallest one, up to which it is no reason to shrink it."""


def output_image(outputs: dict[str, Tensor], name: str) -> UInt8[np.ndarray, "height width 3"]:
    """An output as an image: colours as they are, depth and single channels by nerfstudio's colour maps.

    Args:
        outputs: (height, width, channels) each.
        name: the output to show; `rgb` where there is none of that name.
    """
    from nerfstudio.utils.colormaps import apply_colormap, apply_depth_colormap

    value = outputs.get(name, outputs["rgb"])
    if value.shape[-1] == 1:
        if "depth" in name:
            value = apply_depth_colormap(value, outputs.get("accumulation"))
        else:
            value = apply_colormap(value.clamp(0, 1) if value.is_floating_point() else value)
    return (value.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def pad_to_aspect(image: UInt8[np.ndarray, "height width 3"], aspect: float) -> UInt8[np.ndarray, "h w 3"]:
    """An image with black borders, so that a canvas of width over height `aspect` shows it undistorted."""
    height, width = image.shape[:2]
    across = max(round(aspect * height) - width, 0) if aspect > 0 else 0
    down = max(round(width / aspect) - height, 0) if aspect > 0 else 0
    if across < 2 and down < 2:
        return image
    rows, columns = (down // 2, down - down // 2), (across // 2, across - across // 2)
    return np.pad(image, (rows, columns, (0, 0)))


def scaled_size(camera: PinholeCamera, scale: float) -> tuple[int, int]:
    """Width and height of the recording's images at a scale; even numbers."""
    width, height = (max(2, round(side * scale / 2) * 2) for side in camera.size)
    return width, height


def free_view(camera: PinholeCamera, fov_y: float, aspect: float, scale: float) -> PinholeCamera:
    """The browser's camera, as high as the recording or less where it is very wide.

    Args:
        camera: the recording camera.
        fov_y: vertical field of view of the browser's camera, radians.
        aspect: its width over height.
        scale: size relative to the recording.
    """
    height = camera.height * scale * min(1.0, _LARGEST / max(aspect, 1e-3))
    width, height = max(2, round(height * aspect / 2) * 2), max(2, round(height / 2) * 2)
    return PinholeCamera(height / (2 * float(np.tan(fov_y / 2))), width, height)


class FrameCost:
    """What a frame costs at each size: a fixed part and one that goes by pixels, from what frames took.

    Where shrinking hardly helps, as with Gaussians and bakes on a busy machine, frames stay large.

    Args:
        seconds: first guess at a frame of full size; 0 where there is none.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds, self._scale, self._fixed = seconds, 1.0, 0.0

    def add(self, seconds: float, scale: float) -> None:
        """Take what a frame took.

        Args:
            seconds: to render it.
            scale: its size relative to the recording.
        """
        if scale == self._scale and self._seconds > 0:
            self._seconds += 0.2 * (seconds - self._seconds)
            self._fixed *= _FORGETTING
            return
        if self._seconds > 0:
            here, there = scale**2, self._scale**2
            by_pixels = (seconds - self._seconds) / (here - there)
            fixed = (seconds * there - self._seconds * here) / (there - here)
            self._fixed = 0.5 * self._fixed + 0.5 * float(np.clip(fixed / max(fixed + by_pixels, 1e-6), 0, 1))
        self._seconds, self._scale = seconds, scale

    def affordable_scale(self, limit: float) -> float:
        """The largest scale at which a frame takes no longer than a limit, or hardly longer than the smallest one.

        Args:
            limit: seconds for a frame.
        """
        here = self._share(self._scale)
        seconds = [self._seconds * self._share(scale) / here for scale in _SCALES]
        return next(scale for scale, cost in zip(_SCALES, seconds) if cost <= max(limit, _HARDLY * seconds[-1]))

    def _share(self, scale: float) -> float:
        return self._fixed + (1 - self._fixed) * scale**2
