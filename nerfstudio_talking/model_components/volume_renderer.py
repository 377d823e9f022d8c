"""Rendering of a volume along rays: samples, their attributes from the field, and sums along each ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerfstudio_talking.field_components.conditioning import FrameCondition
from nerfstudio_talking.fields.body_deformation import DeformedPoints
from nerfstudio_talking.fields.conditioned_field import ConditionedField
from nerfstudio_talking.model_components.occupancy_grid import OccupancyGrid
from nerfstudio_talking.model_components.renderers import accumulate, depth_variance, intersect_box, ray_weights


@dataclass
class FrameRays:
    """Rays of a few frames, with the condition of each frame."""

    origins: Float[Tensor, "rays 3"]
    """Origins in the head's frame, metres."""
    directions: Float[Tensor, "rays 3"]
    """Unit directions in the head's frame."""
    condition: FrameCondition
    """Conditions of the distinct frames."""
    frame_of_ray: Int64[Tensor, " rays"]
    """Row of each ray in `condition`."""
    uv: Float[Tensor, "rays 2"]
    """Where the ray meets the image plane; -1 and 1 are the edges of the recorded image."""


Deformation = Callable[[Float[Tensor, "points 3"], Int64[Tensor, " points"], FrameCondition], DeformedPoints]
"""Maps points into the canonical frame, given the row of each in the condition."""


def render_volume(
    field: ConditionedField,
    occupancy: OccupancyGrid,
    rays: FrameRays,
    num_samples: int,
    training: bool,
    deform: Deformation | None = None,
) -> dict[str, Tensor]:
    """Render a volume along rays.

    Samples are equally spaced through the field's box, each shifted at random within its interval in training; those
    in empty cells are not evaluated. With a deformation, audio and eyes fade with the body share: the body does not
    depend on them.

    Args:
        field: the volume.
        occupancy: its occupancy grid, which takes the rendering weights in training.
        rays: rays with the conditions of their frames.
        num_samples: number of samples along a ray.
        training: whether samples are shifted and what losses need is returned.
        deform: deformation into the canonical frame.

    Returns:
        Per ray: `color` (premultiplied), `accumulation` (opacity), `depth` (sum of weight times metres), `semantics`
        (logits), `saliency_<modality>`; in training `depth_variance`, in units of the box's depth squared, and `end`,
        where the ray ends in the mean (head's frame, metres; 0 for empty rays); with a deformation `body`
        (body share, under weights that it cannot change) and `squared_offset` (square metres).
    """
    origins, directions, condition = rays.origins, rays.directions, rays.condition
    box = field.box
    near, far = intersect_box(origins, directions, box)
    hit = far > near
    near, length = near[hit], (far - near)[hit]
    at = torch.arange(num_samples, device=origins.device) + (
        torch.rand(len(near), num_samples, device=origins.device) if training else 0.5
    )
    distance = near[:, None] + at / num_samples * length[:, None]  # (H, S)
    points = origins[hit][:, None] + distance[..., None] * directions[hit][:, None]
    unit = (points - box[0]) / (box[1] - box[0])
    occupied = occupancy.occupied(unit)
    if not occupied.any():
        return _empty_outputs(field, origins, training, deform is not None)
    ray = occupied.nonzero()[:, 0]
    frame = rays.frame_of_ray[hit][ray]
    packed = points[occupied]
    conditions = {"audio": condition.audio[frame], "eyes": condition.eyes[frame]}
    deformed = deform(packed, frame, condition) if deform is not None else None
    if deformed is not None:
        packed = deformed.points
        conditions = {name: value * (1 - deformed.body_share) for name, value in conditions.items()}
    samples = field(packed, directions[hit][ray], conditions)
    density = distance.new_zeros(distance.shape).masked_scatter(occupied, samples.density)
    weights = ray_weights(density, (length / num_samples)[:, None].expand_as(density))
    if training:
        occupancy.record(unit[occupied], weights.detach()[occupied])
    values = [samples.rgb, distance[occupied][:, None], *samples.saliency.values()]
    summed = accumulate(weights, torch.cat(values, -1), occupied)
    index = hit.nonzero()[:, 0]

    def to_rays(value: Tensor) -> Tensor:
        return value.new_zeros(len(origins), value.shape[-1]).index_copy(0, index, value)

    outputs = {
        "color": to_rays(summed[:, :3]),
        "accumulation": to_rays(weights.sum(-1, keepdim=True)),
        "depth": to_rays(summed[:, 3:4]),
        "semantics": to_rays(
            accumulate(weights if field.parsing_branch else weights.detach(), samples.semantics, occupied)
        ),
    }
    if training:
        depth = summed[:, 3:4] / outputs["accumulation"][index].clamp_min(1e-4)
        variance = depth_variance(weights, distance, depth)
        outputs["depth_variance"] = to_rays(variance / (box[1] - box[0])[2] ** 2)
        outputs["end"] = to_rays(origins[hit] + depth * directions[hit])
    for column, name in enumerate(samples.saliency, start=4):
        outputs[f"saliency_{name}"] = to_rays(summed[:, column : column + 1]).clamp(0.0, 1.0)
    if deformed is not None:
        extra = torch.cat([deformed.body_share, deformed.offset.square().sum(-1, keepdim=True)], -1)
        body = to_rays(accumulate(weights.detach(), extra, occupied))
        outputs["body"], outputs["squared_offset"] = body[:, :1], body[:, 1:]
    return outputs


def _empty_outputs(
    field: ConditionedField, origins: Float[Tensor, "rays 3"], training: bool, deforms: bool
) -> dict[str, Tensor]:
    """All outputs for rays that meet no occupied cell, as in a view past the person."""
    names = ["accumulation", "depth", *(f"saliency_{name}" for name in field.regions)]
    names += ["depth_variance"] if training else []
    names += ["body", "squared_offset"] if deforms else []
    outputs = {name: origins.new_zeros(len(origins), 1) for name in names}
    outputs |= {name: torch.zeros_like(origins) for name in ("color", *(["end"] if training else []))}
    return outputs | {"semantics": origins.new_zeros(len(origins), field.semantic_layer.out_features)}
