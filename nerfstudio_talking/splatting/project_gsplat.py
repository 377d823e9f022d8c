"""Covariances and projection on CUDA: gsplat's kernels (1.4 and 1.5)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera


def covariances_gsplat(
    quaternions: Float[Tensor, "gaussians 4"], scales: Float[Tensor, "gaussians 3"]
) -> Float[Tensor, "gaussians 6"]:
    """Upper triangles of covariances; arguments as in `covariances_of`, on a CUDA device."""
    from gsplat.cuda._wrapper import quat_scale_to_covar_preci

    covariances, _ = quat_scale_to_covar_preci(quaternions, scales, compute_preci=False, triu=True)
    assert covariances is not None
    return covariances


def project_gsplat(
    means: Float[Tensor, "gaussians 3"],
    covariances: Float[Tensor, "gaussians 6"],
    camera_to_world: Float[Tensor, "3 4"],
    camera: PinholeCamera,
    eps_2d: float,
    near_plane: float,
    far_plane: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres, conics, depths and radii; arguments as in `project_gaussians`, on a CUDA device.

    What is not drawn (radius 0) has undefined values, as gsplat leaves them.
    """
    from gsplat.cuda._wrapper import fully_fused_projection

    rotation = camera_to_world[:, :3] * means.new_tensor([1.0, -1.0, -1.0])  # camera (x right, y down) to world
    view = torch.eye(4, device=means.device)
    view = torch.cat([torch.cat([rotation.T, -rotation.T @ camera_to_world[:, 3:]], 1), view[3:]])
    intrinsics = torch.as_tensor(camera.matrix, dtype=torch.float32).to(means.device)
    radii, centers, depths, conics, _ = fully_fused_projection(
        means, covariances, None, None, view[None], intrinsics[None], camera.width, camera.height, eps_2d, near_plane,
        far_plane,
    )  # fmt: skip
    if radii.dim() == 3:  # gsplat 1.5 has one along each axis of the image
        radii = radii.amax(-1)
    return centers[0], conics[0], depths[0], radii[0]
