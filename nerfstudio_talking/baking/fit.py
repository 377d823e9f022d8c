"""Fit a bake to a trained portrait: find the cells that are ever seen, regress density and colour at their vertices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from nerfstudio_talking.baking.config import BakeConfig
from nerfstudio_talking.baking.file_format import Bake
from nerfstudio_talking.baking.kernels import BLOCK, CHANNELS
from nerfstudio_talking.baking.polynomial_basis import fit_matrix, polynomial_basis
from nerfstudio_talking.baking.sparse_grid import SparseGrid, sparse_grid_of
from nerfstudio_talking.field_components.mouth_shape_predictor import track_mouth_shapes
from nerfstudio_talking.io.console import get_progress
from nerfstudio_talking.io.digests import weights_digest
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.model_components.renderers import intersect_box, ray_weights
from nerfstudio_talking.models.talking_portrait import TalkingPortraitModel
from nerfstudio_talking.models.volume_portrait import VolumePortraitModel


@dataclass
class Conditions:
    """Conditions sampled for baking: audio, eyes and camera drawn independently, since another voice mixes them."""

    audio: Float[Tensor, "samples audio"]
    eyes: Float[Tensor, "samples eyes"]
    poses: Float[Tensor, "samples 3 4"]


def bakeable(model: object) -> TalkingPortraitModel:
    """The model, where it can be baked.

    Raises:
        TalkingError: its layers are not a head before a torso before a background.
    """
    if not isinstance(model, TalkingPortraitModel):
        raise TalkingError(
            f"a {type(model).__name__}",
            expected="a talking-portrait, whose head alone is a volume",
            found="a portrait of another kind, which cannot be baked",
            hint="Render it unbaked; splat-portrait is fast without a bake.",
        )
    return model


@torch.no_grad()
def fit_bake(model: TalkingPortraitModel, config: BakeConfig) -> Bake:
    """Bake a portrait's head. The model must be in evaluation mode."""
    generator = torch.Generator().manual_seed(config.seed)
    count = max(config.views, config.conditions)
    conditions = sample_conditions(model, count, generator)
    seen = seen_cells(model, conditions, config, generator)
    grid = sparse_grid_of(seen.numpy())
    return fit_vertices(model, grid, conditions, config)


def sample_conditions(model: VolumePortraitModel, count: int, generator: torch.Generator) -> Conditions:
    """Conditions of training frames; every second mouth shape is the tracked one, whose range is wider."""
    sequence, predictor = model.sequence, model.mouth_shape_predictor
    frames = torch.from_numpy(sequence.train_frames)
    pick = torch.randint(len(frames), (3, count), generator=generator)
    by_audio, by_eyes = (model.frame_condition(frames[pick[k]]) for k in (0, 1))
    audio = by_audio.audio.clone()
    if predictor is not None:
        tracked, _ = track_mouth_shapes(sequence.track, sequence.train_frames, len(predictor.bias))
        audio[::2] = predictor.from_prediction(torch.from_numpy(tracked).float()[frames[pick[0, ::2]]])
    return Conditions(audio, by_eyes.eyes, model.conditioning.camera_to_worlds[frames[pick[2]]])


def grid_shape(model: VolumePortraitModel, cell: float) -> tuple[int, int, int]:
    """Number of cells along x, y, z of the box: `cell` pixels wide and high where the head is, and two and a half times
    as deep, or half as deep as samples on a ray lie apart if that is less."""
    width, height, depth = (model.field.box[1] - model.field.box[0]).tolist()
    across = cell * model.plane_distance / model.track.camera.focal
    along = min(2.5 * across, 0.5 * depth / model.config.num_samples)
    cells = [max(int(np.ceil(size / step)), 2) for size, step in ((width, across), (height, across), (depth, along))]
    return cells[0], cells[1], cells[2]


def seen_cells(
    model: TalkingPortraitModel, conditions: Conditions, config: BakeConfig, generator: torch.Generator
) -> Bool[Tensor, "nx ny nz"]:
    """Cells of the fine grid that are seen under some sampled view and condition.

    Rendering weights are gathered on a grid coarse enough for samples on rays to meet every cell.
    """
    field, occupancy, track = model.field, model.occupancy, model.track
    box, samples = field.box, model.config.num_samples
    shape = grid_shape(model, config.cell)
    coarse = tuple(max(n // k, 2) for n, k in zip(shape, (2, 2, 1)))
    sizes = torch.tensor(coarse)
    weight = torch.zeros(int(sizes.prod()))
    with get_progress("Finding the cells that are seen", suffix="views/s") as progress:
        for k in progress.track(range(config.views)):
            pixel = torch.rand(config.rays_per_view, 2, generator=generator) * torch.tensor(track.camera.size)
            local = track.camera.unproject(pixel)
            pose = conditions.poses[k]
            directions = F.normalize(local, dim=-1) @ pose[:, :3].T
            origins = pose[:, 3].expand_as(directions)
            near, far = intersect_box(origins, directions, box)
            hit = far > near
            near, length = near[hit], (far - near)[hit]
            at = torch.arange(samples) + torch.rand((), generator=generator)
            distance = near[:, None] + at / samples * length[:, None]
            points = origins[hit][:, None] + distance[..., None] * directions[hit][:, None]
            unit = (points - box[0]) / (box[1] - box[0])
            occupied = occupancy.occupied(unit)
            if not occupied.any():
                continue
            count = int(occupied.sum())
            condition = {name: getattr(conditions, name)[k].expand(count, -1) for name in ("audio", "eyes")}
            density = distance.new_zeros(distance.shape)
            density[occupied] = field.density(points[occupied], condition)[0]
            weights = ray_weights(density, (length / samples)[:, None].expand_as(density))[occupied]
            cell = (unit[occupied] * sizes).long().clamp_min(0).minimum(sizes - 1)
            weight.scatter_reduce_(0, (cell[:, 0] * sizes[1] + cell[:, 1]) * sizes[2] + cell[:, 2], weights, "amax")
    # sampled rays may miss a cell, never its neighbours along the skin as well
    seen = F.max_pool3d((weight > config.threshold).view(1, 1, *coarse).float(), (3, 3, 1), 1, (1, 1, 0))
    return F.interpolate(seen, size=shape, mode="nearest")[0, 0] > 0


def fit_vertices(model: TalkingPortraitModel, grid: SparseGrid, conditions: Conditions, config: BakeConfig) -> Bake:
    """The bake of the vertices of a grid, fitted to the field under sampled conditions."""
    field = model.field
    box = field.box
    used = slice(0, config.conditions)
    audio, eyes, positions = conditions.audio[used], conditions.eyes[used], conditions.poses[used, :, 3]
    terms = polynomial_basis(audio, eyes, positions)
    matrix = fit_matrix(terms(audio, eyes, positions))
    points = torch.from_numpy(grid.points()) * (box[1] - box[0]) + box[0]
    # densities that make a ray's interval all but transparent, or opaque, need no exact fit
    part = float((box[1] - box[0])[2]) / model.config.num_samples
    low, high = float(np.log(2e-3 / part)), float(np.log(12.0 / part))
    count = len(points) * CHANNELS
    blocks = -(-count // BLOCK)
    coefficients = torch.zeros(len(matrix), blocks * BLOCK)
    with get_progress("Fitting the vertices", suffix="chunks/s") as progress:
        for start in progress.track(range(0, len(points), config.chunk)):
            chunk = points[start : start + config.chunk]
            rows = []
            for k in range(config.conditions):
                directions = F.normalize(chunk - positions[k], dim=-1)
                condition = {"audio": audio[k].expand(len(chunk), -1), "eyes": eyes[k].expand(len(chunk), -1)}
                samples = field(chunk, directions, condition)
                logarithm = samples.density.clamp_min(1e-6).log().clamp(low, high)
                rows.append(torch.cat([logarithm[:, None], samples.rgb], -1).flatten())
            begin = start * CHANNELS
            coefficients[:, begin : begin + chunk.shape[0] * CHANNELS] = matrix @ torch.stack(rows)
    by_channel = coefficients[1:].view(len(matrix) - 1, -1, CHANNELS)
    steps = (by_channel.abs().amax(1) / 32767).clamp_min(1e-12)
    quantized = (by_channel / steps[:, None]).round().to(torch.int16)
    return Bake(
        grid,
        box.clone(),
        model.config.num_samples,
        terms,
        coefficients[0].view(blocks, BLOCK).clone(),
        quantized.view(len(steps), blocks, BLOCK).transpose(0, 1).contiguous(),
        steps,
        weights_digest(model),
        {},
    )
