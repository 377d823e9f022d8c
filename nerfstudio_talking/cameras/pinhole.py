"""The recording camera: a pinhole whose principal point is the centre of the image.

Axes are OpenGL's (x right, y up, the camera looks along -z); pixels have x right and y down, and (0, 0) is the upper
left corner of the image, so that the centre of the first pixel is (0.5, 0.5). Functions take numpy arrays and torch
tensors alike and return the same kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", np.ndarray, "Tensor")

_NEAR = 1e-6
"""Least depth of a projected point, metres: points behind the camera land far outside the image."""


@dataclass(frozen=True)
class PinholeCamera:
    """Focal length and image size of the recording camera."""

    focal: float
    """Focal length, pixels."""
    width: int
    """Image width, pixels."""
    height: int
    """Image height, pixels."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.width, self.height

    @property
    def fov_y(self) -> float:
        """Vertical field of view, radians."""
        return 2 * math.atan(self.height / (2 * self.focal))

    @property
    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """OpenCV's camera matrix K."""
        return np.array([[self.focal, 0, self.width / 2], [0, self.focal, self.height / 2], [0, 0, 1.0]])

    def resize(self, width: int, height: int) -> PinholeCamera:
        """The camera of the same recording at another size; the focal length follows the width."""
        return PinholeCamera(self.focal * width / self.width, width, height)

    def project(self, points: Array, camera_to_worlds: Array) -> Array:
        """Project points into images.

        Args:
            points: (points, 3) for all cameras alike, or (frames, points, 3); metres.
            camera_to_worlds: (frames, 3, 4).

        Returns:
            (frames, points, 2) pixels. Differentiable. Depths below 1e-6 m are raised to it.
        """
        local = _to_camera(points, camera_to_worlds)
        depth = (-local[..., 2:]).clip(min=_NEAR)
        offset = local[..., :2] / depth
        return offset * _constant(offset, (self.focal, -self.focal)) + _constant(offset, self._center)

    def unproject(self, pixels: Array) -> Array:
        """Directions (..., 3) of the rays through pixels (..., 2) in the camera's axes, with z = -1 (not unit)."""
        flat = (pixels - _constant(pixels, self._center)) / _constant(pixels, (self.focal, -self.focal))
        # a third coordinate without importing the arrays' library
        return flat @ _constant(pixels, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))) + _constant(pixels, (0.0, 0.0, -1.0))

    def uv(self, pixels: Array) -> Array:
        """Pixels (..., 2) as positions in [-1, 1], whose ends are the image's edges (x right, y down)."""
        return pixels / _constant(pixels, self._center) - 1

    @property
    def uv_per_metre(self) -> tuple[float, float]:
        """Change of the `uv` position per metre to the right, and per metre up, at a distance of one metre."""
        return 2 * self.focal / self.width, -2 * self.focal / self.height

    def to_nerfstudio(self, camera_to_worlds: Any, times: Any) -> Any:
        """The camera at each pose and time, as nerfstudio's `Cameras`.

        Args:
            camera_to_worlds: (frames, 3, 4), array or tensor.
            times: (frames,), in [0, 1]; array or tensor.
        """
        import torch
        from nerfstudio.cameras.cameras import Cameras, CameraType

        return Cameras(
            camera_to_worlds=torch.as_tensor(camera_to_worlds).float(),
            fx=self.focal,
            fy=self.focal,
            cx=self.width / 2,
            cy=self.height / 2,
            width=self.width,
            height=self.height,
            camera_type=CameraType.PERSPECTIVE,
            times=torch.as_tensor(times).float()[:, None],
        )

    @classmethod
    def from_nerfstudio(cls, camera: Any) -> PinholeCamera:
        """The pinhole of one of nerfstudio's cameras; a principal point off the centre and distortion are not seen."""
        return cls(float(camera.fx.flatten()[0]), int(camera.width.flatten()[0]), int(camera.height.flatten()[0]))

    @property
    def _center(self) -> tuple[float, float]:
        return self.width / 2, self.height / 2


def _to_camera(points: Any, camera_to_worlds: Any) -> Any:
    """World points in the axes of each camera."""
    rotation, translation = camera_to_worlds[:, :, :3], camera_to_worlds[:, None, :, 3]
    return (points - translation) @ rotation


def _constant(like: Any, values: Any) -> Any:
    """Constants as an array of the same kind, type and device."""
    if isinstance(like, np.ndarray):
        return np.asarray(values, dtype=like.dtype if like.dtype.kind == "f" else np.float64)
    return like.new_tensor(values)
