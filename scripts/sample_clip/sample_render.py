"""Rendering of the sample clip's layers: small triangles under a pinhole camera, composited back to front."""

from __future__ import annotations

import cv2
import numba
import numpy as np
from sample_face import FOCAL, SIZE, Expression, Face
from sample_layers import SIDE, Layers, above_collar

_SCALE = SIDE / SIZE
_NO_SURFACE = -1e4


@numba.njit(cache=False)
def _draw(u, v, z, map_x, map_y, nearest):  # pragma: no cover - compiled
    """Texture position of the nearest surface point at each pixel centre; u, v are pixels, z is the depth."""
    rows, columns = u.shape
    height, width = map_x.shape
    for i in range(rows - 1):
        for j in range(columns - 1):
            for half in range(2):
                if half == 0:
                    ia, ja, ib, jb, ic, jc = i, j, i, j + 1, i + 1, j
                else:
                    ia, ja, ib, jb, ic, jc = i + 1, j + 1, i + 1, j, i, j + 1
                ax, ay, bx, by, cx, cy = u[ia, ja], v[ia, ja], u[ib, jb], v[ib, jb], u[ic, jc], v[ic, jc]
                area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
                if area <= 1e-12:
                    continue
                left, right = int(np.ceil(min(ax, bx, cx) - 0.5)), int(np.floor(max(ax, bx, cx) - 0.5))
                top, bottom = int(np.ceil(min(ay, by, cy) - 0.5)), int(np.floor(max(ay, by, cy) - 0.5))
                for py in range(max(top, 0), min(bottom, height - 1) + 1):
                    for px in range(max(left, 0), min(right, width - 1) + 1):
                        x, y = px + 0.5, py + 0.5
                        wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                        wc = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                        wa = 1.0 - wb - wc
                        if wa < -1e-9 or wb < -1e-9 or wc < -1e-9:
                            continue
                        depth = wa * z[ia, ja] + wb * z[ib, jb] + wc * z[ic, jc]
                        if depth < nearest[py, px]:
                            nearest[py, px] = depth
                            map_x[py, px] = wa * ja + wb * jb + wc * jc
                            map_y[py, px] = wa * ia + wb * ib + wc * ic


class Painter:
    """Renders frames from a face and its layers."""

    def __init__(self, face: Face, layers: Layers) -> None:
        self.face, self.layers = face, layers
        self.expression = Expression(face)
        self.above_collar = above_collar()

    def frame(
        self,
        head: np.ndarray,
        torso: np.ndarray,
        opening: float,
        rounding: float,
        closures: tuple[float, float],
    ) -> tuple[np.ndarray, np.ndarray]:
        """An image [SIZE, SIZE, 3] uint8, and the layer visible in each pixel: 0 background, 1 suit, 2 head and neck.

        Args:
            head: [3, 4] head to camera, metres, OpenGL axes.
            torso: [2] shift of the torso in pixels of the clip, right and down.
            opening: see `Expression.displace`.
            rounding: see `Expression.displace`.
            closures: see `Expression.displace`.
        """
        rest = self._warp(self.face.surface, head, torso)
        moved = self._warp(self.expression.displace(opening, rounding, closures), head, torso)
        image = self.layers.background[..., :3].copy()
        shift = np.array([[1, 0, torso[0] * _SCALE], [0, 1, torso[1] * _SCALE]])
        body = cv2.warpAffine(
            _premultiply(self.layers.torso), shift, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        inside = _look_up(self.layers.inside, rest)
        front = _look_up(self.layers.head, moved)
        for layer in (body, inside, front):
            image = image * (1.0 - layer[..., 3:]) + layer[..., :3]
        skin = cv2.remap(
            self.above_collar, *moved, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0.0,)
        )
        head_cover = np.maximum(front[..., 3], inside[..., 3]) * skin
        person_cover = np.maximum.reduce([body[..., 3], front[..., 3], inside[..., 3]])
        seen = (_downsample(person_cover) > 0.5).astype(np.uint8)
        seen[_downsample(head_cover) > 0.5] = 2
        small = _downsample(image)
        return (np.clip(small, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8), seen

    def _warp(self, surface: np.ndarray, head: np.ndarray, torso: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Texture position visible at each pixel of an image of `SIDE` pixels."""
        moved = surface @ head[:, :3].T + head[:, 3]
        still = surface @ self.face.rotation.T + self.face.translation
        metres = -still[..., 2:] / FOCAL
        still = still + metres * np.array([torso[0], -torso[1], 0.0])
        weight = self.face.head_weight[..., None]
        points = weight * moved + (1.0 - weight) * still
        z = -points[..., 2]
        u = (SIZE / 2 + FOCAL * points[..., 0] / z) * _SCALE
        v = (SIZE / 2 - FOCAL * points[..., 1] / z) * _SCALE
        map_x, map_y = np.full((SIDE, SIDE), _NO_SURFACE), np.full((SIDE, SIDE), _NO_SURFACE)
        _draw(u, v, z, map_x, map_y, np.full((SIDE, SIDE), np.inf))
        return map_x.astype(np.float32), map_y.astype(np.float32)


def _downsample(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def _premultiply(texture: np.ndarray) -> np.ndarray:
    return np.dstack([texture[..., :3] * texture[..., 3:], texture[..., 3]])


def _look_up(texture: np.ndarray, positions: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Premultiplied texture at the given positions; transparent where there is no surface."""
    drawn = cv2.remap(
        _premultiply(texture), *positions, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=(0.0,)
    )
    return np.clip(drawn, 0.0, 1.0)
