"""Where the Gaussians of a portrait begin: on the tracked face, behind the lips, on the torso's reference image.

The face is the mean of the tracked 478-point shapes, completed to the head's outline (mesh_rendering/head_surface.py).
Lips and lids begin with the motion that the tracked points have under the conditions (least squares).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from scipy import ndimage

from nerfstudio_talking.cameras.image_plane import apply_affine
from nerfstudio_talking.dataset_io.parsing_labels import (
    CLASS_ID,
    MOUTH_CLASSES,
    TORSO_CLASSES,
    class_mask,
)
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing
from nerfstudio_talking.face.landmark_sets import CHIN_TIP, INNER_LIP_CORNERS, MIDDLE_LIP_PAIR
from nerfstudio_talking.fields.deformable_gaussians import InitialGaussians
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.mesh_rendering.head_surface import HeadSurface, head_surface
from nerfstudio_talking.model_components.surface_prior import middle_head, training_shapes

_RADIUS = 0.4
"""Standard deviation of a new Gaussian over the distance to its neighbours."""
_DETAIL_SHARE = 0.6
"""Share of the Gaussians that is spread by detail; the rest is spread evenly."""
_STEEPEST = 4.0
"""Greatest area of the head's surface behind a pixel, over the pixel's, that gets as many more Gaussians."""
_TORSO_BEHIND = 0.05
"""How far the torso lies behind the head's origin, metres."""
_BACKING_SHARE = 0.12
"""Share of the head's Gaussians that lies behind its visible surface."""
_BACKING_DEPTH = 0.008
"""How far the backing lies behind the visible surface, metres."""
_RIM_DEPTH = 0.07
"""How far the head continues behind its outline, metres."""
_RIM_INSET = 3 / 256
"""How far within the outline the colours of what lies behind it are read, over the image's width."""
_MOUTH_BEHIND = 0.012
"""How far the inside of the mouth lies behind the lips, metres."""


def detail_weights(
    image: UInt8[np.ndarray, "height width 3"], region: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width"]:
    """How many Gaussians a pixel gets relative to the others: more where the image changes; mean 1 over the region.

    Args:
        image: RGB.
        region: where Gaussians are placed.
    """
    gray = image.astype(np.float64).mean(-1)
    change = ndimage.gaussian_filter(ndimage.gaussian_gradient_magnitude(gray, 0.7), 2.0)
    typical = change[region].mean()
    weights = 1.0 + _DETAIL_SHARE * (np.clip(change / max(typical, 1e-6), 0, 4) - 1.0) * (typical > 1e-6)
    return weights / weights[region].mean()


def motion_of_points(
    shapes: Float[np.ndarray, "frames points 3"], conditions: dict[str, Float[np.ndarray, "frames _"]]
) -> dict[str, Float[np.ndarray, "_ points 3"]]:
    """Metres that each tracked point moves per unit of each channel: ridge regression over the frames.

    Args:
        shapes: points in the head's frame, metres; frames with NaN are left out.
        conditions: conditions of the same frames.
    """
    inputs = np.concatenate(list(conditions.values()), 1).astype(np.float64)
    targets = shapes.reshape(len(shapes), -1)
    seen = np.isfinite(targets).all(1)
    inputs, targets = inputs[seen] - inputs[seen].mean(0), targets[seen] - targets[seen].mean(0)
    ridge = np.diag(1e-3 * len(inputs) * inputs.var(0) + 1e-6)
    slopes = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ targets).reshape(inputs.shape[1], -1, 3)
    ends = np.cumsum([value.shape[1] for value in conditions.values()])[:-1]
    return dict(zip(conditions, np.split(slopes, ends)))


def initial_portrait(
    sequence: TalkingSequence,
    conditions: dict[str, Float[np.ndarray, "frames _"]],
    counts: tuple[int, int, int],
    plane_distance: float,
    seed: int,
) -> tuple[InitialGaussians, InitialGaussians, InitialGaussians]:
    """Gaussians of head and inner mouth (head's frame), and of the torso (recording camera's frame, body at rest).

    Args:
        sequence: the recorded sequence.
        conditions: conditions of every frame, of which the face's motion is a linear function at first.
        counts: number of Gaussians of head, mouth and torso.
        plane_distance: distance of the head's origin from the camera, metres.
        seed: seed of the positions.

    Raises:
        TalkingError: the sequence has no parsing maps, or they show no head.
    """
    if sequence.parsing_paths is None:
        raise TalkingError(
            "the dataset",
            expected="parsing maps, which say where head and torso are",
            found="none",
            hint="Make them with `ns-talking process`, or train `talking-portrait`.",
        )
    track, generator = sequence.track, np.random.default_rng(seed)
    frame, head_mask = middle_head(sequence)
    image = read_image(sequence.image_paths[frame], "RGB")
    parsing = load_parsing(sequence, frame)
    if not head_mask.any():
        raise TalkingError(
            sequence.parsing_paths[frame],
            expected="a head",
            found="no pixel of it",
            hint="Process the video again, or choose a part of it in which the face is seen.",
        )
    shape, motions = _tracked_face(sequence, conditions)
    pose = track.camera_to_worlds[frame].astype(np.float64)
    surface = head_surface(shape, pose, track.camera, head_mask)
    region = head_mask | (surface.on_mesh & np.asarray(ndimage.binary_dilation(head_mask, iterations=2)))
    moved = {name: np.stack([surface.over_mesh(motion) for motion in value]) for name, value in motions.items()}
    backing = int(_BACKING_SHARE * counts[0])
    visible = _on_surface(surface, region, moved, image, counts[0] - backing, generator)
    head = _join(visible, _backing(surface, region, parsing, moved, image, backing, generator))
    mouth = _inner_mouth(sequence, shape, motions, counts[1], generator)
    return head, mouth, _torso(sequence, frame, counts[2], plane_distance + _TORSO_BEHIND, generator)


def _tracked_face(
    sequence: TalkingSequence, conditions: dict[str, np.ndarray]
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Mean of the tracked shapes, and their motion; None where the track has no FaceMesh points."""
    shapes, train = training_shapes(sequence), sequence.train_frames
    if shapes is None:
        return None, {}
    return np.nanmean(shapes, 0), motion_of_points(shapes, {name: value[train] for name, value in conditions.items()})


def _on_surface(
    surface: HeadSurface,
    region: Bool[np.ndarray, "height width"],
    motions: dict[str, Float[np.ndarray, "_ height width 3"]],
    image: UInt8[np.ndarray, "height width 3"],
    count: int,
    generator: np.random.Generator,
) -> InitialGaussians:
    """Gaussians on the head's surface, spread over its area and by the image's detail."""
    camera, pose = surface.camera, surface.pose
    depth = np.where(surface.mask, surface.depth, surface.depth[surface.mask].max())
    down, across = (np.gradient(depth, axis=axis) * camera.focal / depth for axis in (0, 1))  # metres per metre
    area = np.where(region, np.minimum(np.sqrt(1 + down**2 + across**2), _STEEPEST), 0.0)
    weights = area * detail_weights(image, region)
    pixels, (rows, columns) = _spread(weights, count, generator)
    means = (camera.unproject(pixels) * depth[rows, columns][:, None]) @ pose[:, :3].T + pose[:, 3]
    # a Gaussian's share of the surface, in pixels
    share = area[rows, columns] / weights[rows, columns] * weights.sum() / count
    spacing = np.sqrt(share) * np.linalg.norm(pose[:, 3]) / camera.focal
    moved = {name: np.moveaxis(value[:, rows, columns], 1, 0) for name, value in motions.items()}
    return InitialGaussians(means, _RADIUS * spacing, image[rows, columns] / 255.0, moved)


def _backing(
    surface: HeadSurface,
    region: Bool[np.ndarray, "height width"],
    parsing: UInt8[np.ndarray, "height width"],
    motions: dict[str, Float[np.ndarray, "_ height width 3"]],
    image: UInt8[np.ndarray, "height width 3"],
    count: int,
    generator: np.random.Generator,
) -> InitialGaussians:
    """Gaussians that only a free viewpoint sees: a coarse layer behind the surface, and the head behind its outline.

    The layer closes what would show through between the Gaussians of a surface seen at a slant; it leaves the mouth
    out. From the outline, without the ears, the head runs back as a part of an ellipse, with the colours of the pixels
    just within it.
    """
    camera, pose, width = surface.camera, surface.pose, region.shape[1]
    lips, ears = class_mask(parsing, MOUTH_CLASSES), class_mask(parsing, ("ears",))
    closed = np.asarray(ndimage.binary_opening(region & ~ears), bool) if (region & ~ears).any() else region
    inner = np.asarray(ndimage.binary_erosion(closed, iterations=max(round(_RIM_INSET * width), 1)), bool)
    outline = closed & ~np.asarray(ndimage.binary_erosion(closed), bool)
    layer = inner & ~np.asarray(ndimage.binary_dilation(lips, iterations=max(round(0.03 * width), 1)), bool)
    if not inner.any() or not layer.any():
        layer = inner = region
    behind = count // 2
    pixels, (rows, columns) = _spread(layer.astype(np.float64), behind, generator)
    depth = surface.depth[rows, columns] + _BACKING_DEPTH
    edge, (rim_rows, rim_columns) = _spread(outline.astype(np.float64), count - behind, generator)
    back = _RIM_DEPTH * generator.random(len(edge))
    middle = np.argwhere(closed).mean(0)[::-1]
    narrowed = middle + (edge - middle) * np.sqrt(1 - 0.75 * (back / _RIM_DEPTH) ** 2)[:, None]
    rim_depth = surface.depth[inner].max() + back
    nearest = np.asarray(ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True))
    rim_colors = image[nearest[0][rim_rows, rim_columns], nearest[1][rim_rows, rim_columns]]
    where, depths = np.concatenate([pixels, narrowed]), np.concatenate([depth, rim_depth])
    means = (camera.unproject(where) * depths[:, None]) @ pose[:, :3].T + pose[:, 3]
    metres = np.linalg.norm(pose[:, 3]) / camera.focal  # of a pixel
    spacing = metres * np.sqrt(np.concatenate([
        np.full(behind, layer.sum() / max(behind, 1)),
        np.full(len(edge), outline.sum() * (_RIM_DEPTH / metres) / max(len(edge), 1)),
    ]))  # fmt: skip
    moved = {
        name: np.concatenate([np.moveaxis(value[:, rows, columns], 1, 0), np.zeros((len(edge), len(value), 3))])
        for name, value in motions.items()
    }
    colors = np.concatenate([image[rows, columns], rim_colors]) / 255.0
    radii = np.minimum(1.5 * _RADIUS * spacing, _BACKING_DEPTH)  # not through the visible surface
    return InitialGaussians(means, radii, colors, moved)


def _join(first: InitialGaussians, second: InitialGaussians) -> InitialGaussians:
    pairs = ((first.means, second.means), (first.radii, second.radii), (first.colors, second.colors))
    motions = {name: np.concatenate([value, second.motions[name]]) for name, value in first.motions.items()}
    means, radii, colors = (np.concatenate(pair) for pair in pairs)
    return InitialGaussians(means, radii, colors, motions)


def _inner_mouth(
    sequence: TalkingSequence,
    shape: np.ndarray | None,
    motions: dict[str, np.ndarray],
    count: int,
    generator: np.random.Generator,
) -> InitialGaussians:
    """A curved sheet behind the lips; its lower half begins with the motion of the chin, its upper half with none."""
    if shape is None:
        corners, middle = np.array([[-0.025, -0.06, 0.04], [0.025, -0.06, 0.04]]), np.array([[0, -0.06, 0.05]] * 2)
    else:
        corners, middle = shape[list(INNER_LIP_CORNERS)], shape[list(MIDDLE_LIP_PAIR)]
    half = 0.5 * abs(corners[1, 0] - corners[0, 0])
    across, up = generator.uniform(-1, 1, (2, count))
    means = np.stack(
        [
            corners[:, 0].mean() + 0.9 * half * across,
            middle[:, 1].mean() + half * (0.55 * up - 0.15),
            middle[:, 2].mean() - _MOUTH_BEHIND - 0.02 * across**2,
        ],
        1,
    )
    seen = [np.zeros((0, 3), np.uint8)]
    for frame in sequence.train_frames[:: max(len(sequence.train_frames) // 60, 1)]:
        inner = load_parsing(sequence, int(frame)) == CLASS_ID["inner_mouth"]
        if inner.any():
            seen.append(read_image(sequence.image_paths[frame], "RGB")[inner])
    found = np.concatenate(seen)
    if len(found) == 0:
        found = np.array([[60, 25, 25]], np.uint8)
    colors = found[generator.integers(len(found), size=count)] / 255.0
    jaw = {name: np.where(up[:, None, None] < 0, value[:, CHIN_TIP][None], 0.0) for name, value in motions.items()}
    spacing = half * np.sqrt(0.9 * 1.1 * 2 / count)
    return InitialGaussians(means, np.full(count, _RADIUS * spacing), colors, jaw)


def _torso(
    sequence: TalkingSequence, frame: int, count: int, distance: float, generator: np.random.Generator
) -> InitialGaussians:
    """The torso's reference image on a plane before the recording camera, moved back to the body at rest."""
    track = sequence.track
    if sequence.torso_references is not None and sequence.torso_frames is not None:
        frame = int(sequence.torso_frames[0])
        image, mask = sequence.torso_references[0][..., :3], sequence.torso_references[0][..., 3] > 127
    else:
        image = read_image(sequence.image_paths[frame], "RGB")
        mask = class_mask(load_parsing(sequence, frame), TORSO_CLASSES)
    if not mask.any():  # a head alone: the Gaussians stay where a neck would be
        mask = np.zeros_like(mask)
        mask[-max(mask.shape[0] // 16, 1) :] = True
    mask = ndimage.binary_dilation(mask)
    weights = np.where(mask, detail_weights(image, mask), 0.0)
    pixels, (rows, columns) = _spread(weights, count, generator)
    uv = track.camera.uv(pixels)
    if track.body is not None:
        uv = _to_rest(uv, track.body[frame])
    rest = (uv + 1) * np.array(track.camera.size) / 2
    means = track.camera.unproject(rest) * distance
    share = weights.sum() / count / weights[rows, columns]
    spacing = np.sqrt(share) * distance / track.camera.focal
    return InitialGaussians(means, _RADIUS * spacing, image[rows, columns] / 255.0)


def _to_rest(uv: Float[np.ndarray, "points 2"], motion: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "points 2"]:
    import torch

    moved = apply_affine(torch.from_numpy(uv), torch.from_numpy(motion.astype(np.float64)), inverse=True)
    return moved.numpy()


def _spread(
    weights: Float[np.ndarray, "height width"], count: int, generator: np.random.Generator
) -> tuple[Float[np.ndarray, "count 2"], tuple[Int64[np.ndarray, " count"], Int64[np.ndarray, " count"]]]:
    """Positions with a given density, pixels, and the row and column of each: low discrepancy along the pixels."""
    edges = np.cumsum(weights.ravel())
    chosen = np.searchsorted(edges, (np.arange(count) + generator.random(count)) / count * edges[-1], side="right")
    rows, columns = np.divmod(np.minimum(chosen, weights.size - 1), weights.shape[1])
    return np.stack([columns, rows], 1) + generator.random((count, 2)), (rows, columns)
