"""An ellipsoid with a solid texture, ray-traced analytically: images of a head whose pose is known."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera

RADII = np.array([0.075, 0.11, 0.09])
"""Half axes of the head, metres."""
CAMERA = PinholeCamera(300.0, 96, 96)


def texture(points: np.ndarray) -> np.ndarray:
    """Colours in [0, 1] of points in the head's frame, metres: waves with lengths of about 2 cm."""
    waves = np.random.default_rng(5).normal(0.0, 150.0, (3, 12))
    phases = np.linspace(0, 6, 12)
    values = np.sin(points @ waves + phases).reshape(*points.shape[:-1], 3, 4).mean(-1)
    return np.clip(0.5 + 0.5 * values, 0, 1)


def render_head(pose: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """Image (RGB, 8 bits) of the head before a grey wall; 3x3 rays per pixel."""
    grid = (np.arange(3 * CAMERA.width) + 0.5) / 3
    x, y = np.meshgrid((grid - CAMERA.width / 2) / CAMERA.focal, -(grid - CAMERA.height / 2) / CAMERA.focal)
    rays = np.stack([x, y, -np.ones_like(x)], axis=-1) @ pose[:, :3].T / RADII
    start = pose[:, 3] / RADII
    # |start + t ray| = 1, the nearer solution
    a, b, c = (rays**2).sum(-1), rays @ start, start @ start - 1
    inside = b**2 - a * c
    t = (-b - np.sqrt(np.maximum(inside, 0))) / a
    colours = np.where((inside > 0)[..., None], texture((start + t[..., None] * rays) * RADII), 0.5)
    small = colours.reshape(CAMERA.height, 3, CAMERA.width, 3, 3).mean((1, 3))
    return np.round(np.clip(255 * gain * small, 0, 255)).astype(np.uint8)


def head_points(count: int = 600) -> np.ndarray:
    """Points spread over the part of the head that faces the camera, metres."""
    directions = np.random.default_rng(1).normal(size=(8 * count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return (directions[directions[:, 2] > 0.55] * RADII)[:count]


def smooth_poses(count: int = 24) -> np.ndarray:
    """Camera-to-world matrices of a head that nods and shakes smoothly."""
    t = np.arange(count) / 6
    angles = np.stack([0.06 * np.sin(t), 0.1 * np.cos(0.7 * t), 0.04 * np.sin(0.5 * t)], axis=1)
    rotation = Rotation.from_rotvec(angles).as_matrix()
    position = rotation @ (0.0, 0.0, 0.8) + 0.004 * np.stack([np.sin(t), np.cos(t), 0 * t], axis=1)
    return np.concatenate([rotation, position[:, :, None]], axis=2)
