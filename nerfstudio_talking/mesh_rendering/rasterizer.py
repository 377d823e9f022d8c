"""A small rasteriser of triangle meshes on OpenCV: visible triangle and barycentric coordinates of each pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8


class Coverage(NamedTuple):
    """The part of a mesh that each pixel of an image shows."""

    triangle: Int32[np.ndarray, "height width"]
    """Index of the visible triangle, -1 where there is none."""
    weights: Float32[np.ndarray, "height width 3"]
    """Barycentric coordinates in that triangle; 0 where there is none."""


def signed_areas(
    points: Float[np.ndarray, "points 2"], triangles: Int[np.ndarray, "triangles 3"]
) -> Float[np.ndarray, " triangles"]:
    """Twice the area of each triangle in the image (y down), positive where its corners run counter-clockwise."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1]) - (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1])


def rasterise(
    points: Float[np.ndarray, "points 2"],
    depth: Float[np.ndarray, " points"],
    triangles: Int[np.ndarray, "triangles 3"],
    height: int,
    width: int,
) -> Coverage:
    """Rasterise a mesh by the painter's algorithm, far triangles first; back faces are culled.

    Args:
        points: positions in the image, pixels, x right, y down; pixel (0, 0) covers 0 to 1.
        depth: distance of the points from the camera, any unit.
        triangles: indices of points, counter-clockwise as seen from the front.
        height: height of the image, pixels.
        width: width of the image, pixels.
    """
    import cv2

    area = signed_areas(points, triangles)
    front = np.flatnonzero(area > 1e-6)
    front = front[np.argsort(-depth[triangles[front]].mean(1), kind="stable")]
    ids = np.full((height, width), -1, dtype=np.int32)
    corners = np.round((points[triangles] - 0.5) * 16).astype(np.int32)  # 4 fractional bits, from pixel centres
    for index in front:
        cv2.fillConvexPoly(ids, corners[index], (int(index),), cv2.LINE_8, 4)
    weights = np.zeros((height, width, 3), dtype=np.float32)
    rows, columns = np.nonzero(ids >= 0)
    chosen = ids[rows, columns]
    a, b, c = (points[triangles[chosen, k]] for k in range(3))
    centre = np.stack([columns, rows], axis=1) + 0.5
    whole = area[chosen]
    first = _cross(c - centre, b - centre) / whole
    second = _cross(a - centre, c - centre) / whole
    inside = np.stack([first, second, 1 - first - second], axis=1)
    # OpenCV also fills pixels whose centre lies just outside: extrapolate there, but not far beyond a sliver
    slivers = inside.min(1) < -0.5
    inside[slivers] = np.clip(inside[slivers], 0, 1)
    weights[rows, columns] = inside / inside.sum(1, keepdims=True)
    return Coverage(ids, weights)


def interpolate(
    coverage: Coverage, triangles: Int[np.ndarray, "triangles 3"], values: Float[np.ndarray, "points channels"]
) -> Float32[np.ndarray, "height width channels"]:
    """Interpolate values at the points over the visible triangles; 0 where there is none."""
    corners = values[triangles[np.maximum(coverage.triangle, 0)]]
    return np.einsum("hwk,hwkc->hwc", coverage.weights, corners).astype(np.float32)


def sample(
    image: UInt8[np.ndarray, "rows columns 3"], positions: Float32[np.ndarray, "height width 2"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Sample an image at pixel positions (x, y) bilinearly; beyond the border, the border."""
    import cv2

    x, y = (np.ascontiguousarray(positions[..., k] - 0.5, dtype=np.float32) for k in range(2))
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
