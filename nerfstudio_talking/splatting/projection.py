"""Gaussians in space to Gaussians in the image: elliptical weighted average splatting (Zwicker et al., 2001).

Constants and limits are gsplat's, so that its CUDA kernels and these functions give the same Gaussians.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.splatting.constants import EPS_2D, FAR_PLANE, NEAR_PLANE
from nerfstudio_talking.splatting.rasterize import Implementation, fastest_on

_LIMIT = 1.3
"""The projection is linearized no farther out than this many half fields of view."""


class ProjectedGaussians(NamedTuple):
    """Gaussians as a camera sees them."""

    means: Float[Tensor, "gaussians 2"]
    """Pixels, x right and y down."""
    conics: Float[Tensor, "gaussians 3"]
    """Upper triangle of the inverse covariance, per square pixel."""
    depths: Float[Tensor, " gaussians"]
    """Metres along the optical axis."""
    radii: Int[Tensor, " gaussians"]
    """Three standard deviations along the longer axis, pixels, rounded up; 0 where the Gaussian is not in the image."""


def covariances_of(
    quaternions: Float[Tensor, "gaussians 4"], scales: Float[Tensor, "gaussians 3"]
) -> Float[Tensor, "gaussians 6"]:
    """Covariances R diag(s)^2 R^T.

    Args:
        quaternions: rotation (w, x, y, z), of any length but zero.
        scales: standard deviations along the rotated axes, metres.

    Returns:
        Upper triangles: xx, xy, xz, yy, yz, zz; square metres.
    """
    implementation = _fastest_for(quaternions, scales)
    if implementation == "numba":
        from nerfstudio_talking.splatting.project_numba import NumbaCovariances

        return NumbaCovariances.apply(quaternions, scales)  # type: ignore[no-any-return]
    if implementation == "gsplat":
        from nerfstudio_talking.splatting.project_gsplat import covariances_gsplat

        return covariances_gsplat(quaternions, scales)
    return covariances_torch(quaternions, scales)


def covariances_torch(
    quaternions: Float[Tensor, "gaussians 4"], scales: Float[Tensor, "gaussians 3"]
) -> Float[Tensor, "gaussians 6"]:
    """`covariances_of` in torch, on any device and in any precision: the reference."""
    w, x, y, z = F.normalize(quaternions, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    a, b, c = scales.square().unbind(-1)
    # written out: batches of three-by-three products cost many times their arithmetic
    entries = []
    for i in range(3):
        for j in range(i, 3):
            (p, q, r), (u, v, s) = rows[i], rows[j]
            entries.append(p * u * a + q * v * b + r * s * c)
    return torch.stack(entries, -1)


def project_gaussians(
    means: Float[Tensor, "gaussians 3"],
    covariances: Float[Tensor, "gaussians 6"],
    camera_to_world: Float[Tensor, "3 4"],
    camera: PinholeCamera,
    eps_2d: float = EPS_2D,
    near_plane: float = NEAR_PLANE,
    far_plane: float = FAR_PLANE,
) -> ProjectedGaussians:
    """Project Gaussians. Differentiable in all tensors; depths and radii carry no gradient of the culling.

    In float32 this is one numba kernel on CPUs and one of gsplat's on CUDA; in other precisions it is torch.

    Args:
        means: centres, metres.
        covariances: upper triangles (see `covariances_of`), square metres.
        camera_to_world: OpenGL axes: x right, y up, the camera looks along -z.
        camera: focal length and size of the image.
        eps_2d: added to the diagonal of the projected covariances, square pixels.
        near_plane: Gaussians nearer than this are not drawn, metres.
        far_plane: Gaussians farther than this are not drawn, metres.
    """
    implementation = _fastest_for(means, covariances, camera_to_world)
    if implementation == "numba":
        from nerfstudio_talking.splatting.project_numba import NumbaProjection

        view = float(camera.focal), camera.size, _limits(camera), eps_2d, near_plane, far_plane
        return ProjectedGaussians(*NumbaProjection.apply(means, covariances, camera_to_world, *view))  # type: ignore[misc]
    if implementation == "gsplat":
        from nerfstudio_talking.splatting.project_gsplat import project_gsplat

        return ProjectedGaussians(
            *project_gsplat(means, covariances, camera_to_world, camera, eps_2d, near_plane, far_plane)
        )
    return project_torch(means, covariances, camera_to_world, camera, eps_2d, near_plane, far_plane)


def project_torch(
    means: Float[Tensor, "gaussians 3"],
    covariances: Float[Tensor, "gaussians 6"],
    camera_to_world: Float[Tensor, "3 4"],
    camera: PinholeCamera,
    eps_2d: float = EPS_2D,
    near_plane: float = NEAR_PLANE,
    far_plane: float = FAR_PLANE,
) -> ProjectedGaussians:
    """`project_gaussians` in torch, on any device and in any precision: the reference."""
    flip = means.new_tensor([1.0, -1.0, -1.0])
    rotation = camera_to_world[:, :3] * flip  # camera (x right, y down, z forward) to world
    x, y, z = ((means - camera_to_world[:, 3]) @ rotation).unbind(-1)
    in_front = z > near_plane
    safe = torch.where(in_front, z, torch.ones_like(z))
    focal, (width, height) = camera.focal, camera.size
    u, v = x / safe, y / safe
    limit_x, limit_y = _limits(camera)
    # rows of the projection's Jacobian times the rotation into the camera
    scale = (focal / safe)[:, None]
    right, down, forward = rotation.unbind(-1)
    across = scale * (right - u.clamp(-limit_x, limit_x)[:, None] * forward)
    along = scale * (down - v.clamp(-limit_y, limit_y)[:, None] * forward)
    xx, xy, yy = (_quadratic(covariances, p, q) for p, q in ((across, across), (across, along), (along, along)))
    xx, yy = xx + eps_2d, yy + eps_2d
    determinant = (xx * yy - xy * xy).clamp_min(1e-10)
    conics = torch.stack([yy, -xy, xx], -1) / determinant[:, None]
    centers = torch.stack([u * focal + width / 2, v * focal + height / 2], -1)
    with torch.no_grad():
        middle = 0.5 * (xx + yy)
        longest = middle + (middle.square() - determinant).clamp_min(0.01).sqrt()
        radius = (3.0 * longest.sqrt()).ceil()
        px, py = centers.unbind(-1)
        inside = (px + radius > 0) & (px - radius < width) & (py + radius > 0) & (py - radius < height)
        radii = torch.where(in_front & (z < far_plane) & inside, radius, torch.zeros_like(radius)).int()
    return ProjectedGaussians(centers, conics, safe, radii)


def _fastest_for(*tensors: Tensor) -> Implementation:
    if any(x.dtype != torch.float32 for x in tensors):
        return "torch"
    device = tensors[0].device
    return "torch" if device.type == "cuda" and fastest_on(device) != "gsplat" else fastest_on(device)


def _limits(camera: PinholeCamera) -> tuple[float, float]:
    """Greatest |x / z| and |y / z| at which the projection is linearized."""
    return _LIMIT * camera.width / (2 * float(camera.focal)), _LIMIT * camera.height / (2 * float(camera.focal))


def _quadratic(
    covariances: Float[Tensor, "gaussians 6"], p: Float[Tensor, "gaussians 3"], q: Float[Tensor, "gaussians 3"]
) -> Float[Tensor, " gaussians"]:
    """p^T C q."""
    xx, xy, xz, yy, yz, zz = covariances.unbind(-1)
    (a, b, c), (u, v, w) = p.unbind(-1), q.unbind(-1)
    return xx * a * u + yy * b * v + zz * c * w + xy * (a * v + b * u) + xz * (a * w + c * u) + yz * (b * w + c * v)
