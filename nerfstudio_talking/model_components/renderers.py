"""Volume rendering of packed samples, and compositing of layers."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def ray_weights(
    density: Float[Tensor, "rays samples"], deltas: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays samples"]:
    """Weights of samples along rays: w_i = T_i (1 - exp(-density_i delta_i)) (Max 1995; Mildenhall et al. 2020, eq. 3).

    Empty samples have density 0. `density` is in 1/metre, `deltas` in metres.
    """
    optical = density * deltas
    # summed over the samples before each one; subtracting it from the full sum would cancel behind a dense sample
    before = torch.cat([torch.zeros_like(optical[:, :1]), torch.cumsum(optical[:, :-1], dim=-1)], dim=-1)
    transmittance = torch.exp(-before)
    return transmittance * -torch.expm1(-optical)


def accumulate(
    weights: Float[Tensor, "rays samples"],
    values: Float[Tensor, "occupied channels"],
    occupied: Bool[Tensor, "rays samples"],
) -> Float[Tensor, "rays channels"]:
    """Sum of weight times value along each ray, the values given for the occupied samples only, in row-major order."""
    rays = occupied.nonzero()[:, 0]
    out = values.new_zeros(len(weights), values.shape[-1])
    return out.index_add(0, rays, weights[occupied][:, None].to(values.dtype) * values)


def depth_variance(
    weights: Float[Tensor, "rays samples"], distances: Float[Tensor, "rays samples"], depth: Float[Tensor, "rays 1"]
) -> Float[Tensor, "rays 1"]:
    """Weighted sum of the squared distances of samples from the ray's depth, square metres: small for a thin surface.

    Args:
        weights: rendering weights.
        distances: distances of the samples from the camera, metres.
        depth: mean distance of what the ray shows, metres.
    """
    return (weights * (distances - depth) ** 2).sum(-1, keepdim=True)


def over(
    top: Float[Tensor, "rays channels"], top_alpha: Float[Tensor, "rays 1"], bottom: Float[Tensor, "rays channels"]
) -> Float[Tensor, "rays channels"]:
    """Composite a premultiplied layer over an opaque one (Porter and Duff 1984)."""
    return top + (1 - top_alpha) * bottom


def intersect_box(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], box: Float[Tensor, "2 3"]
) -> tuple[Float[Tensor, " rays"], Float[Tensor, " rays"]]:
    """Distances at which rays enter and leave an axis-aligned box; a ray that misses it has leave <= enter.

    Distances are in lengths of the direction; a ray from inside the box enters at 0.
    """
    tiny = torch.full_like(directions, 1e-9)
    inverse = 1.0 / torch.where(directions.abs() < 1e-9, torch.where(directions < 0, -tiny, tiny), directions)
    a, b = (box[0] - origins) * inverse, (box[1] - origins) * inverse
    enter = torch.minimum(a, b).amax(-1).clamp_min(0.0)
    leave = torch.maximum(a, b).amin(-1)
    return enter, leave
