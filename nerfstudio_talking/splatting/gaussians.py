"""Gaussians in space, as the rasterizer takes them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_talking.cameras.image_plane import apply_affine

_FIRST, _SECOND = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)
"""Row and column of each entry of an upper triangle."""


class Gaussians(NamedTuple):
    """Gaussians of one frame in world space."""

    means: Float[Tensor, "gaussians 3"]
    """Centres, metres."""
    covariances: Float[Tensor, "gaussians 6"]
    """Upper triangles (see `projection.covariances_of`), square metres."""
    opacities: Float[Tensor, " gaussians"]
    """In [0, 1]."""
    colors: Float[Tensor, "gaussians channels"]
    """Any number of channels."""

    def transform(self, matrix: Float[Tensor, "3 4"]) -> Gaussians:
        """The Gaussians under a rigid motion."""
        rotation = matrix[:, :3]
        means = self.means @ rotation.T + matrix[:, 3]
        return self._replace(means=means, covariances=rotate_covariances(self.covariances, rotation))


def concatenate(*groups: Gaussians) -> Gaussians:
    """All Gaussians of some groups, in order."""
    return Gaussians(*(torch.cat(columns) for columns in zip(*groups)))


def move_in_image(gaussians: Gaussians, motion: Float[Tensor, "2 3"], uv_per_metre: tuple[float, float]) -> Gaussians:
    """Gaussians in front of a camera moved by an affine motion of the image; each keeps its depth and its shape.

    Args:
        gaussians: in the camera's frame (OpenGL axes: the camera looks along -z).
        motion: affine motion in the image plane's coordinates, [-1, 1].
        uv_per_metre: those coordinates per metre at a depth of one metre.
    """
    depth = (-gaussians.means[:, 2:]).clamp_min(1e-3)
    per_metre = depth.new_tensor(uv_per_metre)
    moved = apply_affine(gaussians.means[:, :2] / depth * per_metre, motion)
    return gaussians._replace(means=torch.cat([moved / per_metre * depth, -depth], 1))


def rotate_covariances(
    covariances: Float[Tensor, "gaussians 6"], rotation: Float[Tensor, "3 3"]
) -> Float[Tensor, "gaussians 6"]:
    """R C R^T.

    Args:
        covariances: upper triangles xx, xy, xz, yy, yz, zz.
        rotation: one rotation for all.
    """
    # linear in the six entries: one product instead of a batch of three-by-three ones
    first, second = rotation[list(_FIRST)], rotation[list(_SECOND)]
    outer = first[:, :, None] * second[:, None, :]  # (6, 3, 3)
    diagonal = outer[:, _FIRST, _SECOND]
    mirrored = outer[:, _SECOND, _FIRST] * rotation.new_tensor([a != b for a, b in zip(_FIRST, _SECOND)])
    return covariances @ (diagonal + mirrored).T
