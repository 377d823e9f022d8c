"""A small rasteriser of triangle meshes over OpenCV: which triangle a pixel shows, and where in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8


class Coverage(NamedTuple):
    """What every pixel of an image shows of a mesh."""

    triangle: Int32[np.ndarray, "height width"]
    """Number of the triangle, -1 where there is none."""
    weights: Float32[np.ndarray, "height width 3"]
    """Barycentric coordinates in it; 0 where there is none."""


def signed_areas(
    points: Float[np.ndarray, "points 2"], triangles: Int[np.ndarray, "triangles 3"]
) -> Float[np.ndarray, " triangles"]:
    """Twice the area of each triangle in the image, positive where it runs counter-clockwise as seen (y down)."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1]) - (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1])


def rasterise(
    points: Float[np.ndarray, "points 2"],
    depth: Float[np.ndarray, " points"],
    triangles: Int[np.ndarray, "triangles 3"],
    height: int,
    width: int,
) -> Coverage:
    """Draw a mesh, far triangles first; those that face away are left out.

    Args:
        points: pixels, x right, y down; pixel (0, 0) reaches from 0 to 1.
        depth: distance from the camera, any unit.
        triangles: counter-clockwise as seen from the front.
        height: of the image.
        width: of the image.
    """
    import cv2

    area = signed_areas(points, triangles)
    shown = np.flatnonzero(area > 1e-6)
    shown = shown[np.argsort(-depth[triangles[shown]].mean(1), kind="stable")]
    ids = np.full((height, width), -1, dtype=np.int32)
    corners = np.round((points[triangles] - 0.5) * 16).astype(np.int32)  # sixteenths of a pixel from a pixel's middle
    for index in shown:
        cv2.fillConvexPoly(ids, corners[index], (int(index),), cv2.LINE_8, 4)
    weights = np.zeros((height, width, 3), dtype=np.float32)
    rows, columns = np.nonzero(ids >= 0)
    chosen = ids[rows, columns]
    a, b, c = (points[triangles[chosen, k]] for k in range(3))
    at = np.stack([columns, rows], axis=1) + 0.5
    whole = area[chosen]
    first = _cross(c - at, b - at) / whole
    second = _cross(a - at, c - at) / whole
    inside = np.stack([first, second, 1 - first - second], axis=1)
    # OpenCV fills pixels whose middle lies just outside, too: the plane goes on there, but slivers would run far off
    slivers = inside.min(1) < -0.5
    inside[slivers] = np.clip(inside[slivers], 0, 1)
    weights[rows, columns] = inside / inside.sum(1, keepdims=True)
    return Coverage(ids, weights)


def interpolate(
    coverage: Coverage, triangles: Int[np.ndarray, "triangles 3"], values: Float[np.ndarray, "points channels"]
) -> Float32[np.ndarray, "height width channels"]:
    """Values at the points, interpolated over what each pixel shows; 0 where it shows nothing."""
    corners = values[triangles[np.maximum(coverage.triangle, 0)]]
    return np.einsum("hwk,hwkc->hwc", coverage.weights, corners).astype(np.float32)


def sample(
    image: UInt8[np.ndarray, "rows columns 3"], positions: Float32[np.ndarray, "height width 2"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Colours of an image at pixel positions (x, y), bilinear."""
    import cv2

    x, y = (np.ascontiguousarray(positions[..., k] - 0.5, dtype=np.float32) for k in range(2))
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
