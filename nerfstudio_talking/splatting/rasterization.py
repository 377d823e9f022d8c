"""Gaussians to an image from end to end, with the dictionary that gsplat's density control reads."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.splatting.projection import covariances_of, project_gaussians
from nerfstudio_talking.splatting.rasterize import Implementation, Rasterized, rasterize


def rasterization(
    means: Float[Tensor, "gaussians 3"],
    quaternions: Float[Tensor, "gaussians 4"],
    scales: Float[Tensor, "gaussians 3"],
    opacities: Float[Tensor, " gaussians"],
    colors: Float[Tensor, "gaussians channels"],
    camera_to_world: Float[Tensor, "3 4"],
    camera: PinholeCamera,
    background: Float[Tensor, "height width channels"] | None = None,
    implementation: Implementation = "auto",
    absgrad: bool = False,
) -> tuple[Rasterized, dict[str, Any]]:
    """Project and blend.

    Args:
        means: centres, metres.
        quaternions: rotations (w, x, y, z), of any length but zero.
        scales: standard deviations along the rotated axes, metres.
        opacities: in [0, 1].
        colors: any number of channels.
        camera_to_world: OpenGL axes.
        camera: focal length and size of the image.
        background: what lies behind; nothing where None.
        implementation: see `rasterize`.
        absgrad: whether backward leaves the absolute gradients of the image positions in `means2d.absgrad`.

    Returns:
        The image, and what `gsplat.strategy` reads: `means2d` (1, gaussians, 2), `radii` and `depths` (1, gaussians),
        `width`, `height`, `n_cameras`, `gaussian_ids` (None: nothing is packed).
    """
    projected = project_gaussians(means, covariances_of(quaternions, scales), camera_to_world, camera)
    means2d = projected.means[None]
    image = rasterize(
        means2d[0],
        projected.conics,
        opacities,
        colors,
        projected.depths,
        projected.radii,
        camera.width,
        camera.height,
        background,
        implementation,
        absgrad_of=means2d if absgrad else None,
    )
    info = {
        "means2d": means2d,
        "radii": projected.radii[None],
        "depths": projected.depths[None],
        "width": camera.width,
        "height": camera.height,
        "n_cameras": 1,
        "gaussian_ids": None,
    }
    return image, info
