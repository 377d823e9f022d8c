"""Torso jitter: acceleration of the torso that the head's does not explain."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from nerfstudio_talking.face.landmark_sets import RIGID_POINTS

GRID = 16
"""Cells of the motion grid on each side of the image."""
_FULL_CELL = 0.8
_FEWEST_STEPS = 20
"""Accelerations below which a regression on six numbers says nothing."""


def cell_motion(
    flow: Float32[np.ndarray, "height width 2"], mask: Bool[np.ndarray, "height width"]
) -> Float32[np.ndarray, "256 2"]:
    """Mean motion of each cell of a 16x16 grid, NaN for cells that are not four fifths inside the mask."""
    rows, columns = (np.linspace(0, side, GRID + 1).round().astype(int) for side in mask.shape)
    cells = np.full((GRID, GRID, 2), np.nan, dtype=np.float32)
    for i, (top, bottom) in enumerate(itertools.pairwise(rows)):
        for j, (left, right) in enumerate(itertools.pairwise(columns)):
            inside = mask[top:bottom, left:right]
            if inside.size and inside.mean() >= _FULL_CELL:
                cells[i, j] = flow[top:bottom, left:right][inside].mean(axis=0)
    return cells.reshape(-1, 2)


def cell_texture(image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, " 256"]:
    """How well motion can be seen in each cell of the grid: the smaller eigenvalue of its structure tensor, in squared
    levels per pixel. A plain cloth has none, and an edge shows motion across itself only (Shi & Tomasi 1994)."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    right, down = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    products: np.ndarray = np.stack([right * right, right * down, down * down], axis=-1)
    xx, xy, yy = np.moveaxis(cv2.resize(products, (GRID, GRID), interpolation=cv2.INTER_AREA), -1, 0)
    return ((xx + yy) / 2 - np.hypot((xx - yy) / 2, xy)).astype(np.float32).ravel()


def head_motion(
    before: Float[np.ndarray, "points xy"], after: Float[np.ndarray, "points xy"]
) -> Float64[np.ndarray, " 6"]:
    """The affine motion of the face's rigid points from one frame to the next: shift of their mean in pixels, then the
    change of the 2x2 matrix about it. Turning and nodding are affine to first order. NaN where a face is missing."""
    a, b = (np.asarray(points, np.float64)[list(RIGID_POINTS), :2] for points in (before, after))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.full(6, np.nan)
    centre, shift = a.mean(axis=0), b.mean(axis=0) - a.mean(axis=0)
    matrix = np.linalg.lstsq(a - centre, b - b.mean(axis=0), rcond=None)[0]
    return np.concatenate([shift, (matrix - np.eye(2)).ravel()])


def torso_jitter(
    cells: Float[np.ndarray, "steps cells 2"],
    head: Float[np.ndarray, "steps 6"],
    texture: Float[np.ndarray, " cells"],
) -> float:
    """Acceleration of the torso that the head's does not explain, in pixels per frame squared.

    A person's torso speeds up smoothly and with the head; what jumps to and fro between frames is the renderer's. Each
    cell's change of motion is regressed on the head's (six numbers and a constant), and the root mean square of the
    residual is taken, degrees of freedom made up for. The answer is the median over the half of the cells that has most
    texture in the ground truth: blur and noise leave it as it is. Recordings have jitter too: read it beside the ground
    truth's.

    Args:
        cells: motion of the torso's cells between successive frames (`cell_motion`), NaN where there is no torso; a
            row of NaN marks a break.
        head: the head's motion at the same steps (`head_motion`).
        texture: of each cell in the ground truth (`cell_texture`), the same for rendering and ground truth.

    Returns:
        NaN where no cell is seen at 20 successive steps or more.
    """
    change = np.diff(np.asarray(cells, np.float64), axis=0)
    drive = np.diff(np.asarray(head, np.float64), axis=0)
    seen_head = np.isfinite(drive).all(axis=1)
    residuals, textures = [], []
    for cell in range(change.shape[1]):
        seen = seen_head & np.isfinite(change[:, cell]).all(axis=1)
        if seen.sum() < _FEWEST_STEPS:
            continue
        inputs = drive[seen] / (drive[seen].std(axis=0) + 1e-9)
        inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
        weights = np.linalg.lstsq(inputs, change[seen, cell], rcond=None)[0]
        square = ((change[seen, cell] - inputs @ weights) ** 2).sum()
        residuals.append(np.sqrt(square / (seen.sum() - inputs.shape[1])))
        textures.append(texture[cell])
    if not residuals:
        return float("nan")
    clearest = np.argsort(textures)[len(textures) // 2 :]
    return float(np.median(np.array(residuals)[clearest]))
