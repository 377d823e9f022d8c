"""The volume along rays: where samples lie, what the field says of them, and what is summed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerfstudio_talking.field_components.conditioning import FrameCondition
from nerfstudio_talking.fields.body_deformation import Deformed
from nerfstudio_talking.fields.conditioned_field import ConditionedField
from nerfstudio_talking.model_components.occupancy_grid import OccupancyGrid
from nerfstudio_talking.model_components.renderers import accumulate, intersect_box, ray_weights


@dataclass
class FrameRays:
    """Rays of a few frames, with what the fields are told about each frame."""

    origins: Float[Tensor, "rays 3"]
    directions: Float[Tensor, "rays 3"]
    condition: FrameCondition
    of_ray: Int64[Tensor, " rays"]
    """Row of each ray in `condition`."""
    uv: Float[Tensor, "rays 2"]
    """Where the ray meets the image plane, in [-1, 1] of the recorded image."""


Deformation = Callable[[Float[Tensor, "points 3"], Int64[Tensor, " points"], FrameCondition], Deformed]
"""Carries points, given the row of each in the condition."""


def render_volume(
    field: ConditionedField,
    occupancy: OccupancyGrid,
    rays: FrameRays,
    num_samples: int,
    training: bool,
    deform: Deformation | None = None,
) -> dict[str, Tensor]:
    """What a volume shows along rays.

    Places are equally spaced through the field's box, each shifted at random in training; those in cells that show
    nothing are not evaluated. With a deformation, the body hears no audio: conditions fade with its share.

    Returns:
        Per ray: `color` (premultiplied), `accumulation`, `depth` (sum of weight times metres), `semantics` (logits),
        `saliency_<modality>`; in training `spread`, the variance of depth in units of the box's depth; with a
        deformation `body` (share, under weights that it cannot change) and `offset` (squared metres).
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
        return _nothing(field, len(origins), origins, deform is not None)
    ray = occupied.nonzero()[:, 0]
    frame = rays.of_ray[hit][ray]
    packed = points[occupied]
    conditions = {"audio": condition.audio[frame], "eyes": condition.eyes[frame]}
    moved = deform(packed, frame, condition) if deform is not None else None
    if moved is not None:
        packed = moved.points
        conditions = {name: value * (1 - moved.share) for name, value in conditions.items()}
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
        variance = (weights * (distance - depth) ** 2).sum(-1, keepdim=True)
        outputs["spread"] = to_rays(variance / (box[1] - box[0])[2] ** 2)
    for column, name in enumerate(samples.saliency, start=4):
        outputs[f"saliency_{name}"] = to_rays(summed[:, column : column + 1]).clamp(0.0, 1.0)
    if moved is not None:
        extra = torch.cat([moved.share, moved.offset.square().sum(-1, keepdim=True)], -1)
        body = to_rays(accumulate(weights.detach(), extra, occupied))
        outputs["body"], outputs["offset"] = body[:, :1], body[:, 1:]
    return outputs


def _nothing(field: ConditionedField, count: int, like: Tensor, deforms: bool) -> dict[str, Tensor]:
    """All outputs for rays that meet nothing, as in a view past the person."""
    names = ["accumulation", "depth", "spread", *(f"saliency_{name}" for name in field.regions)]
    names += ["body", "offset"] if deforms else []
    outputs = {name: like.new_zeros(count, 1) for name in names}
    classes = field.semantic_layer.out_features
    return {"color": like.new_zeros(count, 3), "semantics": like.new_zeros(count, classes), **outputs}
