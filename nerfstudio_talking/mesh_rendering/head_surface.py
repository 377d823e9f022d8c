"""Depth of the whole head in one frame: the tracked face mesh, completed to the head's outline.

Where the mesh covers the image, its depth holds. Elsewhere (forehead, hair, ears) the depth runs as a quarter of an
ellipse from the nearest border of the mesh to the outline of the head's mask, which lies behind the head's origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.mesh_rendering.rasterizer import Coverage, interpolate, rasterise
from nerfstudio_talking.mesh_rendering.textured_face import mesh_triangles

_OUTLINE_BEHIND = 0.03
"""Distance of the head's outline behind the head's origin, which lies about between the eyes, metres."""
_ROUND_FRONT = 0.1
"""Height of a head without a mesh above its outline, metres."""
_BORDER_SIGMA = 3 / 256
"""Standard deviation of the Gaussian that smooths the mesh's depth before it is continued, over the image's width."""


@dataclass(frozen=True)
class HeadSurface:
    """Depth of the visible surface of a head in one image."""

    depth: Float32[np.ndarray, "height width"]
    """Distance along the optical axis, metres; 0 outside the mask."""
    mask: Bool[np.ndarray, "height width"]
    """Pixels of the head, where the depth holds."""
    on_mesh: Bool[np.ndarray, "height width"]
    """Pixels that the face mesh covers; elsewhere the depth is a completion."""
    pose: Float64[np.ndarray, "3 4"]
    """Camera-to-world (world = the head) of the image."""
    camera: PinholeCamera
    """Camera of the image."""
    coverage: Coverage | None
    """The part of the mesh that each pixel shows; None without a mesh."""

    def over_mesh(self, values: Float[np.ndarray, "478 channels"]) -> Float[np.ndarray, "height width channels"]:
        """Values at the mesh's points as an image: interpolated where the mesh is seen, 0 elsewhere.

        Raises:
            ValueError: there is no mesh.
        """
        if self.coverage is None:
            raise ValueError("a surface without a mesh")
        return np.where(self.on_mesh[..., None], interpolate(self.coverage, mesh_triangles()[0], values), 0.0)

    def points(
        self, rows: Int[np.ndarray, " points"], columns: Int[np.ndarray, " points"]
    ) -> Float64[np.ndarray, "points 3"]:
        """Points of the surface at pixel centres, in the head's frame, metres.

        Args:
            rows: rows of pixels in the mask.
            columns: columns of the same pixels.
        """
        rays = self.camera.unproject(np.stack([columns, rows], axis=1) + 0.5)
        return (rays * self.depth[rows, columns][:, None]) @ self.pose[:, :3].T + self.pose[:, 3]


def head_surface(
    shape: Float[np.ndarray, "478 3"] | None,
    pose: Float[np.ndarray, "3 4"],
    camera: PinholeCamera,
    head_mask: Bool[np.ndarray, "height width"],
) -> HeadSurface:
    """Surface of a head in one image.

    Args:
        shape: FaceMesh points of the person in the head's frame, metres: the mean of `face_shapes` over frames. None
            gives a round front over the mask.
        pose: camera-to-world of the image (world = the head, OpenGL axes, metres).
        camera: camera of the image.
        head_mask: pixels of the head, hair and ears included.

    Raises:
        ValueError: the mesh covers no pixel of the image, or there is neither mesh nor mask.
    """
    pose = np.asarray(pose, dtype=np.float64)
    outline = float(np.linalg.norm(pose[:, 3])) + _OUTLINE_BEHIND
    if shape is None:
        known = np.zeros_like(head_mask)
        known[_innermost(head_mask)] = True
        mesh_depth, on_mesh, coverage = np.where(known, outline - _ROUND_FRONT, 0.0), np.zeros_like(head_mask), None
    else:
        mesh_depth, coverage = _mesh_depth(np.asarray(shape, dtype=np.float64), pose, camera)
        known = on_mesh = coverage.triangle >= 0
    if not known.any():
        raise ValueError("the face mesh covers no pixel of the image")
    mask = head_mask | on_mesh
    depth = _complete_depth(mesh_depth, known, mask, outline, _BORDER_SIGMA * camera.width)
    return HeadSurface(depth.astype(np.float32), mask, on_mesh, pose, camera, coverage)


def _complete_depth(
    depth: Float64[np.ndarray, "height width"],
    known: Bool[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    outline: float,
    sigma: float,
) -> Float64[np.ndarray, "height width"]:
    """Depth over a mask, a quarter of an ellipse from the border of the known part to the outline's depth."""
    from scipy import ndimage

    to_known, nearest = ndimage.distance_transform_edt(~known, return_indices=True)  # pyright: ignore
    to_outline = ndimage.distance_transform_edt(mask)
    share = ndimage.gaussian_filter(known.astype(np.float64), sigma)
    smooth = ndimage.gaussian_filter(depth, sigma) / np.maximum(share, 1e-3)
    border = smooth[nearest[0], nearest[1]]
    position = np.where(mask, to_known / np.maximum(to_known + to_outline, 1e-9), 1.0)
    completed = outline + (border - outline) * np.sqrt(1.0 - position**2)
    return np.where(known, depth, completed) * mask


def _innermost(mask: Bool[np.ndarray, "height width"]) -> tuple[int, int]:
    """The pixel farthest from the outline of a mask.

    Raises:
        ValueError: the mask is empty.
    """
    from scipy import ndimage

    if not mask.any():
        raise ValueError("neither a face mesh nor a head mask")
    depth = np.asarray(ndimage.distance_transform_edt(mask))
    row, column = np.unravel_index(int(depth.argmax()), mask.shape)
    return int(row), int(column)


def _mesh_depth(
    shape: Float64[np.ndarray, "478 3"], pose: Float64[np.ndarray, "3 4"], camera: PinholeCamera
) -> tuple[Float64[np.ndarray, "height width"], Coverage]:
    """Depth of the face mesh along the optical axis, metres, and what each pixel shows of it; lips and eyes closed."""
    triangles, _ = mesh_triangles()
    pixels = camera.project(shape, pose[None])[0]
    depth = -((shape - pose[:, 3]) @ pose[:, :3])[:, 2]
    coverage = rasterise(pixels, depth, triangles, camera.height, camera.width)
    return interpolate(coverage, triangles, depth[:, None])[..., 0].astype(np.float64), coverage
