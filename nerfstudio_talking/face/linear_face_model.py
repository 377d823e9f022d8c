"""A linear face model of a person, made from tracked landmarks alone: no registration-walled 3D morphable model.

    shape = mean + closure * lid + sum_k coefficient_k * component_k

The common frame is the head's (docs/design.md): poses are taken out before anything is learned, and eye corners lie
equally far apart in everybody, so one basis serves many people. A track holds points of the image, not of space:
each point keeps its mean depth, and what moves is its place across the face. The first component is the lip opening,
which viewers judge; the others are principal components of what the opening does not explain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.image_plane import intersect_depth_plane
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.face.head_shape import rigid_points
from nerfstudio_talking.face.landmark_sets import CHIN_478, LIPS_478
from nerfstudio_talking.face.measurements import INNER_LIPS, OUTER_EYE_CORNERS, fill_gaps
from nerfstudio_talking.io.errors import TalkingError

NUM_POINTS, _IRIS = 478, 468
_DEPTH_SIGMA, _POINT_SIGMA, _FRAMES_ALIKE = 0.004, 0.0015, 12.0
"""Standard deviations of depth around the canonical face and of a landmark across it, metres; frames per independent
measurement."""
_CHEEK_WEIGHT = 0.05
"""Weight of movable points off the mouth: outlines slide over a turning cheek, and lips are what counts."""
_UPPER, _LOWER = (list(side) for side in zip(*INNER_LIPS))


@lru_cache(maxsize=1)
def canonical_face() -> tuple[Float[np.ndarray, "478 3"], Int[np.ndarray, "triangles 3"]]:
    """The canonical face: FaceMesh's points in the head's frame (metres), and triangles, counter-clockwise in front.

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
    near = np.zeros(NUM_POINTS, dtype=bool)
    for inner, outer in ((133, 33), (362, 263)):
        centre, half = points[[inner, outer], :2].mean(0), 0.5 * abs(points[inner, 0] - points[outer, 0])
        near |= np.hypot((points[:, 0] - centre[0]) / (1.2 * half), (points[:, 1] - centre[1]) / half) <= 1.0
    near[_IRIS:] = False
    return np.flatnonzero(near)


def point_weights() -> Float[np.ndarray, " points"]:
    """How much each point counts in the basis: lips and chin 1, other movable ones little, the skull and lids not."""
    points, _ = canonical_face()
    weights = np.full(NUM_POINTS, _CHEEK_WEIGHT)
    weights[rigid_points(points)] = 0.0
    weights[lid_points()] = 0.0
    weights[_IRIS:] = 0.0
    weights[[*LIPS_478, *CHIN_478]] = 1.0
    return weights


def face_shapes(track: TalkingTrack) -> tuple[Float[np.ndarray, "frames 478 3"], Float[np.ndarray, " points"]]:
    """Shapes of a track's face with the rigid pose taken out, head's frame, metres; and the depths they are held at.

    Frames without a face are interpolated.

    Raises:
        TalkingError: the track has no FaceMesh landmarks.
    """
    if track.landmarks is None or track.landmarks.shape[1] != NUM_POINTS or not np.isfinite(track.landmarks).any():
        found = "none" if track.landmarks is None else f"{track.landmarks.shape[1]} per frame"
        raise TalkingError(
            track.audio_path.parent if track.audio_path is not None else "the track",
            expected=f"{NUM_POINTS} FaceMesh landmarks per frame",
            found=found,
            hint="Make the dataset with `ns-talking process VIDEO --output DIR`.",
        )
    landmarks = fill_gaps(track.landmarks.astype(np.float64))
    depth = point_depths(landmarks, track.camera_to_worlds, track.camera)
    return shapes_at_depth(landmarks, track.camera_to_worlds, track.camera, depth), depth


def point_depths(
    landmarks: Float[np.ndarray, "frames 478 2"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
) -> Float[np.ndarray, " points"]:
    """Mean depth of each point in the head's frame, metres: the one at which turning the head moves it least.

    A ray's x and y are linear in the depth z of the plane it meets: x0 + z s. The depth minimises the variance of that
    over the frames, under a Gaussian prior around the canonical face, in closed form.
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
    """Where shapes under poses lie in the image, pixels, x right and y down."""
    return camera.project(shapes, camera_to_worlds)


def mouth_gap(shapes: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, " frames"]:
    """Gap of the inner lips along the face's vertical, metres; negative where tracked lips overlap."""
    return shapes[:, _UPPER, 1].mean(1) - shapes[:, _LOWER, 1].mean(1)


@dataclass(frozen=True)
class FaceBasis:
    """What faces can do, shared by people: metres per coefficient of unit variance over the frames it was made from."""

    components: Float[np.ndarray, "count 478 3"]
    """The first opens the lips; the others leave the lip gap alone and are orthogonal under `point_weights`."""
    lid: Float[np.ndarray, "478 3"]
    """What closing both eyes adds."""

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
        """Coefficients of shapes: the opening by the lip gap, the rest by weighted projection.

        Exact for what `shapes` makes, whatever the lids do: they share no point with the components.
        """
        parts = self.basis.components
        moved = shapes - self.mean
        opening = (mouth_gap(shapes) - mouth_gap(self.mean[None])) / mouth_gap(parts[:1])
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
        """Inner-lip gap over the distance of the outer eye corners, from 0, as `TalkingTrack.lips`."""
        gap = mouth_gap(self.mean[None]) + coefficients[:, 0] * mouth_gap(self.basis.components[:1])
        right, left = OUTER_EYE_CORNERS
        return np.maximum(gap, 0.0) / np.linalg.norm(self.mean[left] - self.mean[right])


def face_basis(
    people: list[tuple[Float[np.ndarray, "frames 478 3"], Float[np.ndarray, " frames"]]], count: int
) -> FaceBasis:
    """The basis of several people's shapes, each around their own mean.

    Args:
        people: shapes of each person in the head's frame, and the closure of the lids, 0 open to 1.
        count: components.

    Raises:
        ValueError: fewer frames than components.
    """
    moved = np.concatenate([shapes - shapes.mean(0) for shapes, _ in people])
    closure = np.concatenate([closing - closing.mean() for _, closing in people])
    if len(moved) <= count:
        raise ValueError(f"{count} components need more than {len(moved)} frames")
    lid = np.zeros((NUM_POINTS, 3))
    lids = lid_points()
    lid[lids] = np.einsum("f,fpi->pi", closure, moved[:, lids]) / max(closure @ closure, 1e-9)
    weights = point_weights()
    moved = moved * (weights > 0)[:, None]
    gap = mouth_gap(moved)
    opening = gap / max(gap.std(), 1e-9)
    first = np.einsum("f,fpi->pi", opening, moved) / (opening @ opening)
    rest = moved - opening[:, None, None] * first
    flat = (rest * np.sqrt(weights)[:, None]).reshape(len(rest), -1)
    _, singular, directions = np.linalg.svd(flat, full_matrices=False)
    spread = np.maximum(singular[: count - 1] / np.sqrt(len(flat)), 1e-9)  # 1e-9 m: a direction nobody moves in
    scores = flat @ directions[: count - 1].T / spread
    others = np.einsum("fk,fpi->kpi", scores, rest) / len(rest)
    return FaceBasis(np.concatenate([first[None], others]), lid)


def _rays(
    landmarks: Float[np.ndarray, "frames points 2"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
) -> tuple[Float[np.ndarray, "frames points 2"], Float[np.ndarray, "frames points 2"]]:
    """Each landmark's ray as x and y in the head's frame: where it meets z = 0, and what a metre of z adds."""
    poses = np.asarray(camera_to_worlds, dtype=np.float64)
    flat, front = (intersect_depth_plane(landmarks, poses, camera, depth) for depth in (0.0, 1.0))
    return flat, front - flat
