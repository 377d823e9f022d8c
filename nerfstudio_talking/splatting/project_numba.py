"""Covariances and projection on CPUs: the kernels of kernels/project_numba.py as autograd functions of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfstudio_talking.splatting.kernels import project_numba as kernels


class NumbaCovariances(torch.autograd.Function):
    """Upper triangles of covariances; arguments as in `covariances_of`."""

    @staticmethod
    def forward(ctx: Any, quaternions: Tensor, scales: Tensor) -> Tensor:
        """One pass over the Gaussians."""
        ctx.save_for_backward(quaternions, scales)
        covariances = np.empty((len(scales), 6), np.float32)
        kernels.covariances_forward(_array(quaternions), _array(scales), covariances)
        return torch.from_numpy(covariances)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """One pass over the Gaussians."""
        quaternions, scales = (_array(x) for x in ctx.saved_tensors)
        of_quaternions, of_scales = np.empty_like(quaternions), np.empty_like(scales)
        kernels.covariances_backward(quaternions, scales, _array(grad), of_quaternions, of_scales)
        return torch.from_numpy(of_quaternions), torch.from_numpy(of_scales)


class NumbaProjection(torch.autograd.Function):
    """Centres, conics, depths and radii; arguments as in `project_gaussians`, and the limits of the linearization."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, covariances: Tensor, camera_to_world: Tensor, focal: float, size: tuple[int, int],
        limits: tuple[float, float], eps_2d: float, near_plane: float, far_plane: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """One pass over the Gaussians."""
        ctx.save_for_backward(means, covariances, camera_to_world)
        ctx.view = focal, *limits, eps_2d, near_plane
        count = len(means)
        centers, conics = np.empty((count, 2), np.float32), np.empty((count, 3), np.float32)
        depths, radii = np.empty(count, np.float32), np.empty(count, np.int32)
        kernels.project_forward(
            _array(means), _array(covariances), _array(camera_to_world), focal, float(size[0]), float(size[1]),
            limits[0], limits[1], eps_2d, near_plane, far_plane, centers, conics, depths, radii,
        )  # fmt: skip
        outputs = tuple(torch.from_numpy(x) for x in (centers, conics, depths, radii))
        ctx.mark_non_differentiable(outputs[3])
        return outputs  # type: ignore[return-value]

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_centers: Tensor, grad_conics: Tensor, grad_depths: Tensor, _: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """One pass over the Gaussians; the camera's gradient is summed by blocks."""
        means, covariances, pose = (_array(x) for x in ctx.saved_tensors)
        of_centers, of_conics, of_depths = _array(grad_centers), _array(grad_conics), _array(grad_depths)
        of_means, of_covariances = np.empty_like(means), np.empty_like(covariances)
        of_poses = np.empty((-(-len(means) // kernels.BLOCK), 12), np.float64)
        focal, limit_x, limit_y, eps_2d, near_plane = ctx.view
        kernels.project_backward(
            means, covariances, pose, focal, limit_x, limit_y, eps_2d, near_plane, of_centers, of_conics, of_depths,
            of_means, of_covariances, of_poses,
        )  # fmt: skip
        of_pose = of_poses.sum(0).astype(np.float32).reshape(3, 4)
        return *(torch.from_numpy(x) for x in (of_means, of_covariances, of_pose)), *[None] * 6


def _array(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().numpy())
