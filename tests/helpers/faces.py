"""Images and FaceMesh landmarks with known properties."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from nerfstudio_talking.face import landmark_sets as sets
from nerfstudio_talking.face.measurements import lip_opening


def smooth_image(height: int = 72, width: int = 80, seed: int = 0) -> torch.Tensor:
    """A smooth random image in [0, 1], (height, width, 3)."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    smooth = gaussian_filter(noise, (3, 3, 0))
    return torch.from_numpy((0.5 + 0.2 * smooth / smooth.std()).clip(0, 1)).float()


def add_noise(clean: torch.Tensor, sigma: float, seed: int = 1) -> torch.Tensor:
    """An image with Gaussian noise, clamped to [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return (clean + sigma * torch.randn(clean.shape, generator=generator)).clamp(0, 1)


def face_mesh(lips: float = 0.1, brows: float = 0.0, seed: int = 3) -> np.ndarray:
    """A face of 478 points, eyes 100 pixels apart, with the given inner-lip gap over that distance."""
    points = np.random.default_rng(seed).uniform(80, 220, (478, 2))
    points[[*sets.OUTER_EYE_CORNERS]] = (100, 100), (200, 100)
    points[[10, 152]] = (150, 40), (150, 240 + 100 * lips)
    for k, (upper, lower) in enumerate(((82, 87), (13, 14), (312, 317))):
        points[upper], points[lower] = (145 + 5 * k, 180), (145 + 5 * k, 180 + 100 * lips)
    points[[107, 336]] = (135, 85 - 100 * brows), (165, 85 - 100 * brows)
    return points


def talking_meshes(lips: np.ndarray) -> np.ndarray:
    """A face per frame, whose inner-lip gap is 0.15 of the given curve."""
    points = np.stack([face_mesh(0.15 * value) for value in lips])
    np.testing.assert_allclose(lip_opening(points), 0.15 * lips, atol=1e-5)
    return points


def ellipse(centre, radii, count, start=-np.pi / 2):
    """Points on an ellipse, clockwise in the image."""
    angle = start + np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


def draw_landmarks_478(shift):
    """FaceMesh points of a face in an image of 192 pixels, moved by `shift` pixels."""
    x, y = 96 + shift[0], 82 + shift[1]
    points = np.tile(np.array([[x, y]], dtype=np.float32), (478, 1))
    points[list(sets.FACE_OVAL)] = ellipse((x, y), (34, 44), 36)
    points[list(sets.OUTER_LIP_OUTLINE)] = ellipse((x, y + 24), (13, 6), 20, np.pi)[::-1]
    points[list(sets.INNER_LIP_OUTLINE)] = ellipse((x, y + 24), (9, 2.5), 20, np.pi)[::-1]
    points[list(sets.RIGHT_EYE_OUTLINE)] = ellipse((x - 14, y - 10), (6, 3), 16, np.pi)[::-1]
    points[list(sets.LEFT_EYE_OUTLINE)] = ellipse((x + 14, y - 10), (6, 3), 16, 0)
    points[list(sets.RIGHT_BROW_OUTLINE)] = ellipse((x - 14, y - 18), (8, 2), 10)
    points[list(sets.LEFT_BROW_OUTLINE)] = ellipse((x + 14, y - 18), (8, 2), 10)
    points[list(sets.NOSE_OUTLINE)] = ellipse((x, y + 3), (5, 12), len(sets.NOSE_OUTLINE))
    points[sets.NOSE_BRIDGE] = (x, y - 9)
    return points
