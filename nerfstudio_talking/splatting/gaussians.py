"""Gaussians in space, as the rasterizer takes them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


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


def rotate_covariances(
    covariances: Float[Tensor, "gaussians 6"], rotation: Float[Tensor, "3 3"]
) -> Float[Tensor, "gaussians 6"]:
    """R C R^T.

    Args:
        covariances: upper triangles xx, xy, xz, yy, yz, zz.
        rotation: one rotation for all.
    """
    # the map is linear in the six entries: one product instead of a batch of three-by-three ones
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    rows = []
    for i, j in pairs:
        p, q = rotation[i], rotation[j]
        rows.append(torch.stack([p[a] * q[b] + (p[b] * q[a] if a != b else 0) for a, b in pairs]))
    return covariances @ torch.stack(rows).T
