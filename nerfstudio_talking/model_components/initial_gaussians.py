"""Where the Gaussians of a portrait begin: on the tracked face surface, behind the lips, on the torso's reference image.

The face is the mean of the tracked 478-point shapes. Hair, ears and whatever else of the head the mesh does not cover
get a depth that falls from the mesh's border to the head's outline like an ellipse's, so that the head is round from
the side too. Lips and lids begin with the motion that the tracked points have under the conditions (least squares).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from scipy import ndimage

from nerfstudio_talking.cameras.body_frame import middle_frame
from nerfstudio_talking.cameras.image_plane import apply_affine
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, HEAD_CLASSES, TORSO_CLASSES, class_mask
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing
from nerfstudio_talking.face.landmark_sets import CHIN_TIP
from nerfstudio_talking.face.linear_face_model import face_shapes
from nerfstudio_talking.fields.deformable_gaussians import InitialGaussians
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.mesh_rendering.rasterizer import interpolate, rasterise
from nerfstudio_talking.mesh_rendering.textured_face import mesh_triangles

_RADIUS = 0.6
"""Standard deviation of a new Gaussian over the distance to its neighbours."""
_RIM_BEHIND = 0.03
"""How far the head's outline lies behind its origin, metres."""
_TORSO_BEHIND = 0.05
"""How far the torso lies behind the head's origin, metres."""
_MOUTH_BEHIND = 0.012
"""How far the inside of the mouth lies behind the lips, metres."""
_MOUTH_CORNERS, _MIDDLE_LIPS = (78, 308), (13, 14)
"""FaceMesh points: corners of the inner lips; middle of the upper and the lower inner lip."""


@dataclass(frozen=True)
class HeadSurface:
    """The head's front as one frame's camera sees it."""

    depth: Float[np.ndarray, "height width"]
    """Metres along the optical axis."""
    region: Bool[np.ndarray, "height width"]
    """Where there is a head."""
    motion: dict[str, Float[np.ndarray, "channels height width 3"]]
    """Metres that the surface moves per unit of each channel of a condition."""


def complete_depth(
    depth: Float[np.ndarray, "height width"],
    known: Bool[np.ndarray, "height width"],
    region: Bool[np.ndarray, "height width"],
    rim: float,
) -> Float[np.ndarray, "height width"]:
    """Depth over a whole region: from the border of the known part to the region's outline along an ellipse.

    Args:
        depth: metres, where known.
        known: where the depth is known.
        region: where it is wanted.
        rim: depth at the region's outline, metres.
    """
    if not known.any():
        known = ndimage.binary_erosion(region, iterations=max(int(np.sqrt(region.sum()) / 4), 1))
        depth = np.full_like(depth, rim - 0.1)
    to_known, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
    to_rim = ndimage.distance_transform_edt(ndimage.binary_dilation(region | known))
    share = to_known / np.maximum(to_known + to_rim, 1e-6)
    smooth = ndimage.gaussian_filter(np.where(known, depth, 0.0), 3.0)
    smooth = smooth / np.maximum(ndimage.gaussian_filter(known.astype(np.float64), 3.0), 1e-3)
    border = smooth[nearest[0], nearest[1]]
    return np.where(known, depth, rim + (border - rim) * np.sqrt(np.clip(1 - share**2, 0, 1)))


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
    frame = int(sequence.train_frames[middle_frame(track.camera_to_worlds[sequence.train_frames])])
    image = read_image(sequence.image_paths[frame], "RGB")
    parsing = load_parsing(sequence, frame)
    head_mask = ndimage.binary_opening(class_mask(parsing, HEAD_CLASSES))
    if not head_mask.any():
        raise TalkingError(
            sequence.parsing_paths[frame],
            expected="a head",
            found="no pixel of it",
            hint="Process the video again, or choose a part of it in which the face is seen.",
        )
    shape, motions = _tracked_face(sequence, conditions)
    pose = track.camera_to_worlds[frame].astype(np.float64)
    surface = _head_surface(shape, motions, pose, track.camera, head_mask)
    head = _on_surface(surface, image, pose, track.camera, counts[0], generator)
    mouth = _inner_mouth(sequence, shape, motions, counts[1], generator)
    return head, mouth, _torso(sequence, frame, counts[2], plane_distance + _TORSO_BEHIND, generator)


def _tracked_face(
    sequence: TalkingSequence, conditions: dict[str, np.ndarray]
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Mean of the tracked shapes, and their motion; None where the track has no FaceMesh points."""
    track, train = sequence.track, sequence.train_frames
    if track.landmarks is None or track.landmarks.shape[1] != 478:
        return None, {}
    shapes = face_shapes(track.landmarks, track.camera_to_worlds, track.camera)[train]
    return np.nanmean(shapes, 0), motion_of_points(shapes, {name: value[train] for name, value in conditions.items()})


def _head_surface(
    shape: np.ndarray | None, motions: dict[str, np.ndarray], pose: np.ndarray, camera: PinholeCamera, head: np.ndarray
) -> HeadSurface:
    rim = float(np.linalg.norm(pose[:, 3])) + _RIM_BEHIND
    if shape is None:
        nothing = np.zeros_like(head)
        return HeadSurface(complete_depth(np.zeros(head.shape), nothing, head, rim), head, {})
    triangles, skin = mesh_triangles()
    triangles = triangles[:skin]
    pixels = camera.project(shape, pose[None])[0]
    depths = -((shape - pose[:, 3]) @ pose[:, 2])
    coverage = rasterise(pixels, depths, triangles, *head.shape)
    known = coverage.triangle >= 0
    depth = interpolate(coverage, triangles, depths[:, None])[..., 0]
    moved = {
        name: np.stack([np.where(known[..., None], interpolate(coverage, triangles, channel), 0.0) for channel in value])
        for name, value in motions.items()
    }
    region = head | (known & ndimage.binary_dilation(head, iterations=2))
    return HeadSurface(complete_depth(depth, known, region, rim), region, moved)


def _on_surface(
    surface: HeadSurface,
    image: UInt8[np.ndarray, "height width 3"],
    pose: np.ndarray,
    camera: PinholeCamera,
    count: int,
    generator: np.random.Generator,
) -> InitialGaussians:
    pixels, (rows, columns) = _spread(surface.region, count, generator)
    depth = surface.depth[rows, columns]
    means = (camera.unproject(pixels) * depth[:, None]) @ pose[:, :3].T + pose[:, 3]
    spacing = np.sqrt(surface.region.sum() / count) * np.linalg.norm(pose[:, 3]) / camera.focal
    motions = {name: np.moveaxis(value[:, rows, columns], 1, 0) for name, value in surface.motion.items()}
    return InitialGaussians(means, _RADIUS * float(spacing), image[rows, columns] / 255.0, motions)


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
        corners, middle = shape[list(_MOUTH_CORNERS)], shape[list(_MIDDLE_LIPS)]
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
    return InitialGaussians(means, _RADIUS * float(spacing), colors, jaw)


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
    pixels, (rows, columns) = _spread(ndimage.binary_dilation(mask), count, generator)
    uv = track.camera.uv(pixels)
    if track.body is not None:
        uv = _to_rest(uv, track.body[frame])
    rest = (uv + 1) * np.array(track.camera.size) / 2
    means = track.camera.unproject(rest) * distance
    spacing = np.sqrt(mask.sum() / count) * distance / track.camera.focal
    return InitialGaussians(means, _RADIUS * float(spacing), image[rows, columns] / 255.0)


def _to_rest(uv: Float[np.ndarray, "points 2"], motion: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "points 2"]:
    import torch

    moved = apply_affine(torch.from_numpy(uv), torch.from_numpy(motion.astype(np.float64)), inverse=True)
    return moved.numpy()


def _spread(
    mask: Bool[np.ndarray, "height width"], count: int, generator: np.random.Generator
) -> tuple[Float[np.ndarray, "count 2"], tuple[Int64[np.ndarray, " count"], Int64[np.ndarray, " count"]]]:
    """Positions spread evenly over a mask, pixels, and the row and column of each."""
    rows, columns = np.nonzero(mask)
    rounds = [generator.permutation(len(rows)) for _ in range(-(-count // len(rows)))]
    chosen = np.concatenate(rounds)[:count]
    rows, columns = rows[chosen], columns[chosen]
    return np.stack([columns, rows], 1) + generator.random((count, 2)), (rows, columns)
