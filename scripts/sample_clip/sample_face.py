"""The astronaut's head as a surface in three dimensions, and how lips, jaw and lids move on it.

The surface has one point per texture pixel, seen by a pinhole camera. Its depth comes from FaceMesh's landmarks where
there is a face and from an ellipsoid where there is hair. World = the head: see docs/conventions.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from sample_layers import CROP, LEFT_EYE, MOUTH_X, RIGHT_EYE, SIDE, lid_edges, lip_edges, texel_positions
from scipy.interpolate import RBFInterpolator

from nerfstudio_talking.face.head_shape import to_head_frame
from nerfstudio_talking.face.landmark_sets import INNER_LIP_PAIRS, NUM_MESH_POINTS, OUTER_EYE_CORNERS

SIZE = 256
FOCAL = 650.0
"""Focal length of the clip's camera, pixels of the clip; the principal point is the image's centre."""
PIVOT = (0.0, -0.085, -0.045)
"""Centre of the head's rotation on the neck, in the head's frame, metres."""
_PER_PIXEL = SIZE / CROP[2]
# Depth behind the landmarks' zero in photograph pixels where there are no landmarks: x, y, depth.
_HAIR_AND_NECK = (
    (222, 60, -12), (205, 58, -10), (245, 62, -10), (190, 66, -4), (262, 70, -4), (225, 45, -2), (200, 42, 4),
    (250, 44, 4), (228, 28, 16), (200, 30, 22), (256, 32, 22), (176, 75, 12), (172, 95, 24), (282, 80, 12),
    (286, 100, 24), (174, 112, 36), (280, 118, 34), (181, 128, 44), (270, 131, 42), (178, 55, 18), (280, 58, 18),
    (222, 184, 36), (205, 182, 38), (240, 184, 38), (190, 172, 50), (250, 176, 50), (186, 150, 54), (259, 152, 54),
    (222, 198, 36), (190, 192, 42), (252, 196, 42), (222, 236, 36),
)  # fmt: skip
_SILHOUETTE = (
    (153, 82), (155, 60), (165, 42), (184, 26), (208, 17), (232, 14), (258, 19), (280, 34), (295, 54), (301, 82),
    (299, 102), (289, 121), (276, 131), (156, 100), (163, 112), (173, 121),
)  # fmt: skip
_SILHOUETTE_DEPTH = 46.0


@dataclass(frozen=True)
class Face:
    """The resting surface (the photograph's own expression)."""

    surface: np.ndarray
    """[SIDE, SIDE, 3] point of each texture pixel in the head's frame, metres."""
    shape: np.ndarray
    """[478, 3] landmarks in the head's frame, metres."""
    rotation: np.ndarray
    """[3, 3] rotation from head to camera in the photograph."""
    translation: np.ndarray
    """[3] translation from head to camera in the photograph, metres."""
    head_weight: np.ndarray
    """[SIDE, SIDE] 1 where a point moves with the head, 0 where it moves with the torso."""
    eye_distance: float
    """Distance of the outer eye corners in the photograph's pixels along the face, the unit of lip opening."""
    lip_gap: float
    """Mean gap of the three inner-lip pairs in the photograph, in outer eye corner distances."""


def build_face(landmarks: np.ndarray) -> Face:
    """Surface and pose from the landmarks [478, 3] of the photograph: its pixels, depth away from the camera."""
    hair = np.array(_HAIR_AND_NECK, dtype=np.float64)
    ring = np.array(_SILHOUETTE, dtype=np.float64)
    middle = np.array([228.0, 90.0])
    outer = middle + (ring - middle) * 1.15
    positions = np.concatenate([landmarks[:NUM_MESH_POINTS, :2], hair[:, :2], ring, outer])
    ring_depths = np.full(len(ring) + len(outer), _SILHOUETTE_DEPTH)
    depths = np.concatenate([landmarks[:NUM_MESH_POINTS, 2], hair[:, 2], ring_depths])
    spline = RBFInterpolator(positions, depths, smoothing=2.0, kernel="thin_plate_spline", degree=1)
    coarse = (np.arange(0, SIDE + 4, 4.0)) / SIDE * CROP[2]
    x, y = np.meshgrid(coarse + CROP[0], coarse + CROP[1])
    values = spline(np.stack([x.ravel(), y.ravel()], -1)).reshape(x.shape)
    centre_x, centre_y = texel_positions()
    depth = cv2.remap(
        np.clip(values, -30.0, 60.0).astype(np.float32),
        ((centre_x - CROP[0]) / CROP[2] * SIDE / 4).astype(np.float32),
        ((centre_y - CROP[1]) / CROP[2] * SIDE / 4).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    # Hair meets the cheek's rim at another depth: blur the step, so that the surface does not tear.
    face = np.hypot((centre_x - 225.0) / 40.0, (centre_y - 124.0) / 54.0)
    rim = _smoothstep((face - 0.85) / 0.25)
    depth = depth * (1.0 - rim) + cv2.GaussianBlur(depth, (0, 0), 9.0) * rim
    # Distance such that the outer eye corners are as far apart as in to_head_frame; everything scales with it.
    unit = _unproject(landmarks, 1.0)
    distance, _, _ = _similarity(unit, to_head_frame(unit))
    points = _unproject(landmarks, distance)
    _, rotation, shift = _similarity(points, to_head_frame(points))
    head = points @ rotation.T + shift
    surface = _unproject(np.dstack([centre_x, centre_y, depth]).reshape(-1, 3), distance) @ rotation.T + shift
    corners = landmarks[list(OUTER_EYE_CORNERS)]
    eye_distance = float(np.linalg.norm(corners[0] - corners[1]))
    upper, lower = lip_edges(landmarks[[pair[0] for pair in INNER_LIP_PAIRS], 0])
    return Face(
        surface=surface.reshape(SIDE, SIDE, 3),
        shape=head,
        rotation=rotation.T,
        translation=-rotation.T @ shift,
        head_weight=_head_weight(centre_x, centre_y),
        eye_distance=eye_distance,
        lip_gap=float((lower - upper).mean() / eye_distance),
    )


def _unproject(points: np.ndarray, distance: float) -> np.ndarray:
    """Unproject photograph pixels with depth to camera space (OpenGL axes); depth 0 lies at `distance`."""
    x, y, depth = np.asarray(points, dtype=np.float64).T
    z = distance * (1.0 + depth * _PER_PIXEL / FOCAL)
    right = ((x - CROP[0]) * _PER_PIXEL - SIZE / 2) * z / FOCAL
    down = ((y - CROP[1]) * _PER_PIXEL - SIZE / 2) * z / FOCAL
    return np.stack([right, -down, -z], axis=-1)


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and shift from one point set to another that is exactly similar."""
    linear, *_ = np.linalg.lstsq(np.c_[source, np.ones(len(source))], target, rcond=None)
    scale = float(np.cbrt(np.linalg.det(linear[:3])))
    return scale, linear[:3].T / scale, linear[3]


def _head_weight(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 on the head, falling along the neck to 0 at the collar."""
    jaw = 150.0 + 28.0 * np.exp(-(((x - 222.0) / 22.0) ** 2))
    return 1.0 - _smoothstep((y - jaw) / (196.0 - jaw))


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


class Expression:
    """Displacement of the surface by lips, jaw and lids, in the plane of the photograph (its pixels, x and y).

    Opening 0 closes the inner lips, `face.lip_gap` is the photograph's opening, more drops the jaw. Closure of a lid is
    0 in the photograph and 1 where the upper lid lies on the lower one.
    """

    def __init__(self, face: Face) -> None:
        self.face = face
        self.x, self.y = texel_positions()
        x, y = self.x, self.y
        upper, lower = lip_edges(x)
        half, middle = 0.5 * (MOUTH_X[-1] - MOUTH_X[0]), 0.5 * (MOUTH_X[0] + MOUTH_X[-1])
        across = (x - middle) / half
        beyond = np.clip(np.abs(across) - 1.0, 0.0, None) * half
        span = np.maximum(lower - upper, 0.2 + 0.9 * beyond)
        centre = 0.5 * (lower + upper)
        self.side = np.clip((y - centre) / span + 0.5, 0.0, 1.0)  # 0 above the mouth, 1 below
        self.gap = lower - upper
        # Lips: the full motion at the edge, which fades away from it; the jaw below moves rigidly.
        self.near_upper = 1.0 - _smoothstep((upper - y) / 13.0)
        self.to_jaw = _smoothstep((y - lower) / 13.0)
        width = np.exp(-((np.abs(x - middle) / 44.0) ** 3))
        neck = 1.0 - _smoothstep((y - 180.0) / 16.0)
        from_cheek = _smoothstep((y - 138.0 + 0.1 * beyond) / 22.0)
        self.jaw = width * neck * from_cheek
        self.narrow = (
            np.exp(-((np.maximum(np.abs(y - 147.0) - 4.0, 0.0) / 9.0) ** 2))
            * across
            * np.exp(-np.maximum(np.abs(across) - 0.9, 0.0) * 2.5)
        )
        self.lids = []
        for eye in (RIGHT_EYE, LEFT_EYE):
            top, bottom = lid_edges(x, eye)
            fade = 1.0 - _smoothstep((top - y) / 8.0)
            inside = np.clip((bottom - y) / np.maximum(bottom - top, 1e-3), 0.0, 1.0)
            self.lids.append((bottom - top) * np.where(y < top, fade, inside))

    def displace(self, opening: float, rounding: float, closures: tuple[float, float]) -> np.ndarray:
        """The displaced surface [SIDE, SIDE, 3] in the head's frame, metres.

        Args:
            opening: mean gap of the inner-lip pairs in outer eye corner distances.
            rounding: 0 to 1, narrows the mouth.
            closures: closure of the person's right and left lid, 0 to 1.
        """
        change = opening / self.face.lip_gap - 1.0  # -1 closed, 0 as photographed
        less, more = min(change, 0.0), max(change, 0.0)
        # Closing: the upper lip comes down a third of the way; opening: it rises a little.
        up_share, open_share = 0.36, 0.10
        upper = -self.gap * (up_share * less + open_share * more) * self.near_upper
        edge = self.gap * ((1 - up_share) * less + (1 - open_share) * more)
        drop = 6.6 * (0.30 * less + 0.80 * more) * self.jaw
        lower = edge * (1.0 - self.to_jaw) + drop * self.to_jaw
        down = upper * (1.0 - self.side) + lower * self.side
        right = -(4.2 * rounding + 1.1 * more) * self.narrow
        for lid, closure in zip(self.lids, closures):
            down = down + closure * lid
        metres = 0.089 / self.face.eye_distance
        return self.face.surface + metres * np.dstack([right, -down, np.zeros_like(down)])
