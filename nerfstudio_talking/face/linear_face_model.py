"""A linear face model of a person, fitted to tracked landmarks alone: no registration-only 3DMM.

    shape = mean + closure * lid + sum_k coefficient_k * component_k

The common frame is the head's (docs/conventions.md): poses are taken out before anything is learned, and the eye
corners of all people lie equally far apart, so one basis serves many people. A track holds points of the image, not of
space: each point has one mean depth, and only its position across the face moves. The first component opens the
lips, which viewers judge; the others are principal components of what the lip distance does not explain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.depth_plane import intersect_depth_plane
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face.head_shape import rigid_points
from nerfstudio_talking.face.landmark_sets import (
    CHIN_POINTS,
    INNER_EYE_CORNERS,
    LIP_POINTS,
    NUM_LANDMARKS,
    NUM_MESH_POINTS,
    OUTER_EYE_CORNERS,
)
from nerfstudio_talking.face.measurements import eye_corner_distance, fill_gaps, lip_distance
from nerfstudio_talking.io.errors import TalkingError

_DEPTH_SIGMA, _POINT_SIGMA, _FRAMES_ALIKE = 0.004, 0.0015, 12.0
"""Standard deviations of depth around the canonical face and of a landmark across it, metres; frames per independent
measurement."""
_CHEEK_WEIGHT = 0.05
"""Weight of movable points off the mouth: outlines slide over a turning cheek, and the lips matter most."""


@lru_cache(maxsize=1)
def canonical_face() -> tuple[Float[np.ndarray, "478 3"], Int[np.ndarray, "triangles 3"]]:
    """Points of the canonical face in the head's frame (metres), and triangles, counter-clockwise seen from the front.

    Points 468 to 477, the irises, belong to no triangle.
    """
    with (files("nerfstudio_talking") / "face" / "canonical_face.npz").open("rb") as file, np.load(file) as archive:
        return archive["points"].astype(np.float64), archive["triangles"].astype(np.int64)


def pose_vectors(camera_to_worlds: Float[np.ndarray, "frames 3 4"]) -> Float[np.ndarray, "frames 6"]:
    """Head poses as six numbers: rotation vector (radians) and origin (metres) of the head in the camera's axes.

    The rotation vector's x, y and z are nodding, shaking and tilting. Inverse of `camera_matrices`.
    """
    matrices = np.asarray(camera_to_worlds, dtype=np.float64)
    rotation = matrices[:, :, :3].transpose(0, 2, 1)
    origin = -np.einsum("fij,fj->fi", rotation, matrices[:, :, 3])
    return np.concatenate([Rotation.from_matrix(rotation).as_rotvec().reshape(-1, 3), origin], axis=1)


def camera_matrices(pose: Float[np.ndarray, "frames 6"]) -> Float[np.ndarray, "frames 3 4"]:
    """Camera-to-world matrices (world = the head) of poses as six numbers; inverse of `pose_vectors`."""
    rotation = Rotation.from_rotvec(pose[:, :3]).as_matrix().reshape(-1, 3, 3).transpose(0, 2, 1)
    position = -np.einsum("fij,fj->fi", rotation, pose[:, 3:])
    return np.concatenate([rotation, position[:, :, None]], axis=2)


def lid_points() -> Int[np.ndarray, " lids"]:
    """FaceMesh points that move with the lids: around the eyes, below the brows."""
    points, _ = canonical_face()
    near = np.zeros(NUM_LANDMARKS, dtype=bool)
    for inner, outer in zip(INNER_EYE_CORNERS, OUTER_EYE_CORNERS):
        centre, half = points[[inner, outer], :2].mean(0), 0.5 * abs(points[inner, 0] - points[outer, 0])
        near |= np.hypot((points[:, 0] - centre[0]) / (1.2 * half), (points[:, 1] - centre[1]) / half) <= 1.0
    near[NUM_MESH_POINTS:] = False
    return np.flatnonzero(near)


def point_weights() -> Float[np.ndarray, " points"]:
    """Weight of each point in the basis: 1 for lips and chin, little for other movable points, 0 for skull and lids."""
    points, _ = canonical_face()
    weights = np.full(NUM_LANDMARKS, _CHEEK_WEIGHT)
    weights[rigid_points(points)] = 0.0
    weights[lid_points()] = 0.0
    weights[NUM_MESH_POINTS:] = 0.0
    weights[[*LIP_POINTS, *CHIN_POINTS]] = 1.0
    return weights


def face_shapes(
    landmarks: Float[np.ndarray, "frames points 2"] | None,
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
) -> Float[np.ndarray, "frames 478 3"]:
    """Shapes of a tracked face with the rigid pose taken out, in the head's frame, metres.

    Each point lies at its mean depth (`point_depths`).

    Args:
        landmarks: FaceMesh points of a track, pixels; frames without a face (NaN) are interpolated.
        camera_to_worlds: head poses of the track.
        camera: the recording camera.

    Raises:
        TalkingError: the track has no FaceMesh landmarks.
    """
    if landmarks is None or landmarks.shape[1] != NUM_LANDMARKS or not np.isfinite(landmarks).any():
        raise TalkingError(
            "the track",
            expected=f"{NUM_LANDMARKS} FaceMesh landmarks per frame",
            found="none" if landmarks is None else f"{landmarks.shape[1]} per frame",
            hint="Make the dataset with `ns-talking process VIDEO --output DIR`.",
        )
    landmarks = fill_gaps(landmarks.astype(np.float64))
    depth = point_depths(landmarks, camera_to_worlds, camera)
    return shapes_at_depth(landmarks, camera_to_worlds, camera, depth)


def point_depths(
    landmarks: Float[np.ndarray, "frames 478 2"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
) -> Float[np.ndarray, " points"]:
    """Mean depth of each point in the head's frame, metres: the one at which rotating the head moves it least.

    A ray's x and y are linear in the depth z of the plane it meets: x0 + z s. The depth minimises their variance over
    the frames, under a Gaussian prior around the canonical face, in closed form.
    """
    prior = canonical_face()[0][:, 2]
    flat, step = _rays(landmarks, camera_to_worlds, camera)
    flat, step = flat - flat.mean(0), step - step.mean(0)
    precision = 1.0 / (_POINT_SIGMA**2 * _FRAMES_ALIKE)
    slope = precision * (step**2).sum((0, 2))
    pull = -precision * (flat * step).sum((0, 2))
    return (pull + prior / _DEPTH_SIGMA**2) / (slope + 1.0 / _DEPTH_SIGMA**2)


def shapes_at_depth(
    landmarks: Float[np.ndarray, "frames points 2"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
    depth: Float[np.ndarray, " points"],
) -> Float[np.ndarray, "frames points 3"]:
    """Landmarks in pixels moved into the head's frame at given depths. Inverse of `landmarks_of_shapes`."""
    flat, step = _rays(landmarks, camera_to_worlds, camera)
    across = flat + depth[:, None] * step
    return np.concatenate([across, np.broadcast_to(depth[:, None], (*across.shape[:2], 1))], axis=2)


def landmarks_of_shapes(
    shapes: Float[np.ndarray, "frames points 3"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
) -> Float[np.ndarray, "frames points 2"]:
    """Positions in the image of shapes under poses, pixels, x right and y down."""
    return camera.project(shapes, camera_to_worlds)


@dataclass(frozen=True)
class FaceBasis:
    """Directions in which faces move, shared by people, in metres per coefficient of unit variance."""

    components: Float[np.ndarray, "count 478 3"]
    """The first opens the lips; the others leave the lip distance alone and are orthogonal under `point_weights`."""
    lid: Float[np.ndarray, "478 3"]
    """Displacement by closing both eyes, metres."""

    @property
    def count(self) -> int:
        """Number of coefficients."""
        return len(self.components)


@dataclass(frozen=True)
class FaceModel:
    """A person's linear face: mean shape and basis."""

    mean: Float[np.ndarray, "478 3"]
    """Mean shape of the person, eyes open, head's frame, metres."""
    basis: FaceBasis

    def encode(self, shapes: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, "frames count"]:
        """Coefficients of shapes: the first by the lip distance, the others by weighted projection.

        The exact inverse of `shapes` whatever the closure of the lids, which share no point with the components.
        """
        parts = self.basis.components
        moved = shapes - self.mean
        opening = (lip_distance(shapes) - lip_distance(self.mean[None])) / lip_distance(parts[:1])
        weighted = parts[1:] * point_weights()[:, None]
        energy = np.maximum((parts[1:] * weighted).sum((1, 2)), 1e-15)
        rest = np.einsum("fpi,kpi->fk", moved - opening[:, None, None] * parts[0], weighted) / energy
        return np.concatenate([opening[:, None], rest], axis=1)

    def shapes(
        self, coefficients: Float[np.ndarray, "frames count"], closure: Float[np.ndarray, " frames"] | float = 0.0
    ) -> Float[np.ndarray, "frames 478 3"]:
        """Shapes in the head's frame, metres; `closure` of the lids from 0 (open) to 1."""
        closing = np.broadcast_to(np.asarray(closure, dtype=np.float64), len(coefficients))
        moved = np.einsum("fk,kpi->fpi", coefficients, self.basis.components)
        return self.mean + moved + closing[:, None, None] * self.basis.lid

    def lip_opening(self, coefficients: Float[np.ndarray, "frames count"]) -> Float[np.ndarray, " frames"]:
        """Lip distance over the distance of the outer eye corners, from 0: `measurements.lip_opening` of the shapes."""
        distance = lip_distance(self.mean[None]) + coefficients[:, 0] * lip_distance(self.basis.components[:1])
        return np.maximum(distance, 0.0) / eye_corner_distance(self.mean)


def fit_face_basis(
    people: list[tuple[Float[np.ndarray, "frames 478 3"], Float[np.ndarray, " frames"]]], count: int
) -> FaceBasis:
    """Fit a basis to several people's shapes, each around their own mean.

    Args:
        people: shapes of each person in the head's frame, and the closure of their lids, 0 open to 1.
        count: number of components.

    Raises:
        ValueError: fewer frames than components.
    """
    moved = np.concatenate([shapes - shapes.mean(0) for shapes, _ in people])
    closure = np.concatenate([closing - closing.mean() for _, closing in people])
    if len(moved) <= count:
        raise ValueError(f"{count} components need more than {len(moved)} frames")
    lid = np.zeros((NUM_LANDMARKS, 3))
    lids = lid_points()
    lid[lids] = np.einsum("f,fpi->pi", closure, moved[:, lids]) / max(closure @ closure, 1e-9)
    weights = point_weights()
    moved = moved * (weights > 0)[:, None]
    distance = lip_distance(moved)
    opening = distance / max(distance.std(), 1e-9)
    first = np.einsum("f,fpi->pi", opening, moved) / (opening @ opening)
    rest = moved - opening[:, None, None] * first
    flat = (rest * np.sqrt(weights)[:, None]).reshape(len(rest), -1)
    _, singular, directions = np.linalg.svd(flat, full_matrices=False)
    spread = np.maximum(singular[: count - 1] / np.sqrt(len(flat)), 1e-9)  # 1e-9 m: a direction without motion
    scores = flat @ directions[: count - 1].T / spread
    others = np.einsum("fk,fpi->kpi", scores, rest) / len(rest)
    return FaceBasis(np.concatenate([first[None], others]), lid)


def _rays(
    landmarks: Float[np.ndarray, "frames points 2"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
) -> tuple[Float[np.ndarray, "frames points 2"], Float[np.ndarray, "frames points 2"]]:
    """Each landmark's ray as x and y in the head's frame: where it meets z = 0, and their change per metre of z."""
    poses = np.asarray(camera_to_worlds, dtype=np.float64)
    flat, front = (intersect_depth_plane(landmarks, poses, camera, depth) for depth in (0.0, 1.0))
    return flat, front - flat
